"""The applications of docs/client/resumable.md, as they stand there, with their servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from headgate.notes import SPARE_S
from headgate.resumable.durable import BEAT_S, LOOK_AGAIN_S
from headgate.resumable.listener import LOST_S, WINDOW
from headgate.resumable.log_streams import PRODUCER_TTL_S
from headgate.resumable.names import Names
from headgate.resumable.production import FIRST_LIFETIME_S, RENEW_S
from headgate.resumable.streams import MAX_BUFFER_BYTES, RESUME_TIMEOUT_S, SENTINEL_TTL_S

from tests.support.ports import HOST, free_port
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis_servers import RedisServer

PAGE = (ROOT / "docs/client/resumable.md").read_text()
TEXT = "a stream that outlives its readers "


class Pauses:
    """The answer's pauses: after its first two words it waits until the test lets it go on."""

    def __init__(self) -> None:
        self.words = 0
        self.goes_on = asyncio.Event()

    async def __call__(self) -> None:
        if self.words == 2:
            await self.goes_on.wait()
        self.words += 1


def application(heading: str, redis: RedisServer, pauses: Pauses) -> Any:
    """What `app` is in the first block of code under a heading."""
    redis.command("FLUSHALL")
    code = PAGE.split(f"## {heading}\n")[1].split("```python\n")[1].split("```")[0]
    assert "asyncio.sleep(0.05)" in code
    code = code.replace("redis://127.0.0.1:6379", redis.url).replace("asyncio.sleep(0.05)", "p()")
    names: dict[str, Any] = {"p": pauses}
    exec(compile(code, heading, "exec"), names)
    return names["app"]


@contextlib.asynccontextmanager
async def served_by_uvicorn(app: Any) -> AsyncIterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="error"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def served_by_aiohttp(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        await runner.cleanup()


async def test_the_fastapi_application_of_the_page_streams_and_resumes_an_answer(
    redis: RedisServer,
) -> None:
    pauses = Pauses()
    app = application("In FastAPI", redis, pauses)
    async with served_by_uvicorn(app) as url, aiohttp.ClientSession(url) as client:
        async with client.get("/chat/1") as nothing:
            assert nothing.status == 204
        async with client.post("/chat/1") as started:
            assert await started.content.readexactly(4) == TEXT[:4].encode()  # and cut off
        async with client.get("/chat/1", params={"resume_at": "2"}) as resumed:
            pauses.goes_on.set()
            assert (resumed.status, await resumed.text()) == (200, TEXT[2:])
        await until(lambda: _status(client, 204))


async def test_the_aiohttp_application_of_the_page_streams_and_resumes_an_answer(
    redis: RedisServer,
) -> None:
    pauses = Pauses()
    app = application("In aiohttp", redis, pauses)
    async with served_by_aiohttp(app) as url, aiohttp.ClientSession(url) as client:
        async with client.get("/chat/1") as started:
            assert await started.content.readexactly(4) == TEXT[:4].encode()  # and cut off
        async with client.get("/chat/1", params={"resume_at": "2"}) as resumed:
            pauses.goes_on.set()
            assert (resumed.status, await resumed.text()) == (200, TEXT[2:])
        await until(lambda: _status(client, 204))


@pytest.mark.parametrize(
    "told",
    [
        f"| `sentinel_ttl` | {SENTINEL_TTL_S:.0f} |",
        f"| `resume_timeout` | {RESUME_TIMEOUT_S:.0f} |",
        f"| `max_buffer_bytes` | {MAX_BUFFER_BYTES >> 20} MiB |",
        f"at most {WINDOW:,} characters",
        f"said nothing for {LOST_S:.0f} s",
        f"readers get `ProducerLost` {LOST_S:.0f} s after it was last heard of",
        f"{PRODUCER_TTL_S + SPARE_S:.0f} to "
        f"{PRODUCER_TTL_S + LOOK_AGAIN_S + BEAT_S + SPARE_S:.0f} s later",
        f"of silence one request in {LOOK_AGAIN_S:.0f} s from each",
    ],
)
def test_the_page_on_resumable_streams_states_the_default_bounds_of_the_code(told: str) -> None:
    assert told in re.sub(r"\s+", " ", PAGE)


def test_the_page_on_resumable_streams_states_how_often_a_sentinel_is_renewed() -> None:
    assert FIRST_LIFETIME_S == RENEW_S == 10
    assert "every ten seconds one `PEXPIRE`" in PAGE


async def test_the_aiohttp_application_of_the_page_answers_410_for_a_lost_producer(
    redis: RedisServer,
) -> None:
    app = application("In aiohttp", redis, Pauses())
    redis.command("INCR", Names("1").sentinel)  # and then its process died
    async with (
        served_by_aiohttp(app) as url,
        aiohttp.ClientSession(url) as client,
        client.get("/chat/1") as lost,
    ):
        assert lost.status == 410


async def _status(client: aiohttp.ClientSession, status: int) -> bool:
    async with client.get("/chat/1") as answer:
        return answer.status == status
