"""The applications of docs/client/resumable.md, as they stand there, with their servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from headgate.resumable.messages import sentinel

from tests.client.runs.serving import aiohttp_of, uvicorn_of
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

PAGE = (ROOT / "docs/client/resumable.md").read_text()
TEXT = "a stream that outlives its readers "


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

    code = PAGE.split(f"## {heading}\n")[1].split("```python\n")[1].split("```")[0]
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
