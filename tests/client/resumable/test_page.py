"""The applications of docs/client/resumable.md, as they stand there, with their servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from headgate.resumable.messages import sentinel

from tests.client.runs.serving import aiohttp_of, uvicorn_of
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
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


async def test_the_fastapi_application_of_the_page_streams_and_resumes_an_answer(
    redis: RedisServer,
) -> None:
    pauses = Pauses()
    app = application("In FastAPI", redis, pauses)
    async with uvicorn_of(app, "on") as url, aiohttp.ClientSession(url) as client:
        async with client.get("/chat/1") as nothing:
            assert nothing.status == 204
        async with client.post("/chat/1") as started:
            assert await started.content.readexactly(4) == TEXT[:4].encode()  # and cut off
        async with client.get("/chat/1", params={"resume_at": "2"}) as resumed:
            pauses.goes_on.set()
            assert (resumed.status, await resumed.text()) == (200, TEXT[2:])
        await until(lambda: _status(client, 204))
        async with client.post("/chat/1") as again:
            assert again.status == 409
        async with client.get("/chat/1", params={"resume_at": "-4"}) as wrong:
            assert wrong.status == 422


async def test_the_aiohttp_application_of_the_page_streams_and_resumes_an_answer(
    redis: RedisServer,
) -> None:
    pauses = Pauses()
    app = application("In aiohttp", redis, pauses)
    async with aiohttp_of(app) as url, aiohttp.ClientSession(url) as client:
        async with client.get("/chat/1") as started:
            assert await started.content.readexactly(4) == TEXT[:4].encode()  # and cut off
        async with client.get("/chat/1", params={"resume_at": "2"}) as resumed:
            pauses.goes_on.set()
            assert (resumed.status, await resumed.text()) == (200, TEXT[2:])
        await until(lambda: _status(client, 204))


async def test_the_aiohttp_application_of_the_page_answers_410_for_a_lost_producer(
    redis: RedisServer,
) -> None:
    app = application("In aiohttp", redis, Pauses())
    redis.command("INCR", sentinel("1"))  # and then its process died
    async with (
        aiohttp_of(app) as url,
        aiohttp.ClientSession(url) as client,
        client.get("/chat/1") as lost,
    ):
        assert lost.status == 410


async def _status(client: aiohttp.ClientSession, status: int) -> bool:
    async with client.get("/chat/1") as answer:
        return answer.status == status
