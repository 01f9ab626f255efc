"""The programs of the pages about resumable streams, as they stand there, with their servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate.resumable.messages import sentinel
from tests.client.resumable.doubles import MemoryBroker, Tap, state_is, whole
from tests.client.runs.serving import aiohttp_of, uvicorn_of
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headgate import ResumableStreams
    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer

PAGE = (ROOT / "docs/client/resumable.md").read_text()
# With the examples of a library that people know, line by line.
EXAMPLES = (ROOT / "docs/client/coming-from/resumable-stream.md").read_text()
TEXT = "a stream that outlives its readers "


def program(page: str, words: str, number: int = 1) -> str:
    """Return the first program, or another one, after these words of a page."""
    return page.split(words, 1)[1].split("```python\n")[number].split("```")[0]


@pytest.mark.parametrize(("heading", "method"), [("In FastAPI", "POST"), ("In aiohttp", "GET")])
async def test_the_applications_of_the_page_stream_and_resume_an_answer(
    heading: str, method: str, redis: RedisServer
) -> None:
    redis.command("FLUSHALL")
    redis.command("INCR", sentinel("lost"))  # and then its process died
    words, goes_on = 0, asyncio.Event()

    async def pause() -> None:
        """After its first two words the answer waits until the test lets it go on."""
        nonlocal words
        words += 1
        if words == 3:
            await goes_on.wait()

    code = program(PAGE, f"## {heading}\n")
    assert "asyncio.sleep(0.05)" in code
    code = code.replace("redis://127.0.0.1:6379", redis.url).replace("asyncio.sleep(0.05)", "p()")
    names: dict[str, Any] = {"p": pause}
    exec(compile(code, heading, "exec"), names)
    serving = uvicorn_of(names["app"], "on") if method == "POST" else aiohttp_of(names["app"])
    async with serving as url, aiohttp.ClientSession(url) as client:

        async def status(method: str, path: str, resume_at: int = 0) -> int:
            at = {"resume_at": str(resume_at)}
            async with client.request(method, path, params=at) as response:
                return response.status

        async with client.request(method, "/chat/1") as started:
            assert await started.content.readexactly(4) == TEXT[:4].encode()  # and cut off
        async with client.get("/chat/1", params={"resume_at": "2"}) as resumed:
            goes_on.set()
            assert (resumed.status, await resumed.text()) == (200, TEXT[2:])

        async def is_done() -> bool:
            return await status("GET", "/chat/1") == 204

        await until(is_done)
        if method == "POST":
            assert await status("GET", "/chat/2") == 204
            assert await status("POST", "/chat/1") == 409
            assert await status("GET", "/chat/1", resume_at=-4) == 422
        else:
            assert await status("GET", "/chat/lost") == 410


async def test_the_client_of_the_page_brings_its_pool(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    code = program(PAGE, "brings its own pool").replace("port=6379", f"port={redis.port}")
    names: dict[str, Any] = {}
    exec(code, names)
    async with names["client"]:
        assert await _text_of(names["streams"]) == TEXT


async def test_the_broker_of_the_page_stands_in_for_redis() -> None:
    names: dict[str, Any] = {}
    exec(program(PAGE, "### A broker of yours"), names)
    assert await _text_of(names["streams"]) == TEXT
    await names["streams"].aclose()
    assert names["channels"] == {}


async def _text_of(streams: ResumableStreams) -> str:
    """Return what a reader gets that resumes a stream, once its state is known as done."""
    tap = Tap()
    await streams.create("a", tap)
    text = await streams.resume("a")
    tap.give(TEXT)
    tap.end()
    read = await whole(text)
    await until(lambda: state_is(streams, "done"))
    return read


@pytest.mark.parametrize("number", [1, 2], ids=["closing", "keep_alive"])
async def test_a_process_of_the_page_finishes_its_answer(
    number: int, redis: RedisServer, on_redis: MakeStreams
) -> None:
    code = program(PAGE, "## A process that ends after its response", number)
    if number == 2:  # the source is an argument, and the job one of many
        answer = program(PAGE, "## A process that ends after").split("\n\nasync def job")[0]
        code = f"{answer}\n{code}\nasyncio.run(handle('chat-1', answer))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "REDIS_URL": redis.url}
    streams = on_redis(resume_timeout=20.0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"a \n"
        text = await whole(await streams.resume("chat-1"))
        assert process.wait() == 0
    assert text == "a stream that outlives its process "


IN_PYTHON = "## Its examples in Python"


@pytest.mark.parametrize("served", [3, 4], ids=["one endpoint", "two endpoints"])
@pytest.mark.parametrize(
    "made", [1, 2, 5, 6], ids=["serverless", "server", "client", "publisher and subscriber"]
)
async def test_the_examples_of_another_library_run_line_by_line_in_python(
    made: int, served: int, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.command("FLUSHALL")
    monkeypatch.setenv("REDIS_URL", redis.url)
    ended: list[Awaitable[None]] = []
    broker, tap = MemoryBroker(), Tap()
    given: dict[str, Any] = {"wait_until": ended.append, "make_test_stream": tap, "stream_id": "a"}
    code = program(EXAMPLES, IN_PYTHON, made).replace("port=6379", f"port={redis.port}")
    exec(code, given)
    streams = given.get("streams") or given["context"](broker, broker)
    given["streams"] = streams
    exec(program(EXAMPLES, IN_PYTHON, served), given)
    async with uvicorn_of(given["app"]) as url, aiohttp.ClientSession(url) as client:
        async with client.request("GET" if served == 3 else "POST", "/stream/a") as first:
            assert (first.status, first.content_type) == (200, "text/event-stream")
            tap.give("data: 🙂\n\n", "data: more\n\n")
            assert await first.content.readexactly(4) == b"data"  # and it is disconnected
        at = {"resume_at": f"{len('data: 🙂') + 3}"}  # as JavaScript counts
        async with client.get("/stream/a", params=at) as second:
            tap.give("data: end\n\n")
            tap.end()
            assert await second.text() == "data: more\n\ndata: end\n\n"
        await until(lambda: state_is(streams, "done"))
        async with client.get("/stream/a") as third:
            assert (third.status, await third.text()) == (422, "Stream is already done")
    said: list[str] = []
    code = textwrap.indent(program(EXAMPLES, IN_PYTHON, 7), "    ")
    exec(f"async def asked():\n{code}", {**given, "print": said.append}, given)
    await given["asked"]()
    assert len(said) == 1
    assert (len(ended), tap.calls) == (made != 2, 1)
    await asyncio.gather(*ended)
    await streams.aclose()
    if made == 5:
        await given["client"].aclose()
