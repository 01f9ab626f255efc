"""Runs behind aiohttp and behind Starlette, asked over HTTP as clients of a chat do."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import headgate.web.aiohttp
import headgate.web.starlette
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Route

from tests.client.runs.serving import aiohttp_of, uvicorn_of
from tests.client.runs.sources import Feed
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import ModuleType

    from headgate.runs import Runs

ANSWER = (
    b'data: {"type":"start","messageId":"chat 1"}\n\n'
    b'data: {"type":"start-step"}\n\n'
    b'data: {"type":"text-start","id":"text-1"}\n\n'
    b'data: {"type":"text-delta","id":"text-1","delta":"Once"}\n\n'
    b'data: {"type":"text-end","id":"text-1"}\n\n'
    b'data: {"type":"finish-step"}\n\n'
    b'data: {"type":"finish"}\n\n'
    b"data: [DONE]\n\n"
)


async def left_body(body: AsyncGenerator[bytes], is_left: asyncio.Event) -> AsyncGenerator[bytes]:
    try:
        async for piece in body:
            yield piece
    finally:
        is_left.set()


def views(module: ModuleType, runs: Runs, feed: Feed) -> dict[str, Callable[[Any], Any]]:
    """Return the views of a chat, by their paths; /left answers once its reader has left."""
    is_left = asyncio.Event()

    async def ask(_: Any) -> Any:
        return module.send(await runs.start("chat 1", feed.source(), format="ai-sdk"))

    async def text(_: Any) -> Any:
        answer = await runs.start("a", feed.source())
        return module.send(replace(answer, body=left_body(answer.body, is_left)))

    async def resume(request: Any) -> Any:
        about = getattr(request, "match_info", None) or request.path_params
        return await module.resume(request, runs, about["id"])

    async def early(request: Any) -> Any:
        return await module.resume(request, runs, "chat 1", wait=PATIENCE_S)

    async def left(_: Any) -> Any:
        while not is_left.is_set():
            feed.give("upon ")
            await asyncio.sleep(0.01)
        return module.send(None)

    return {"/ask": ask, "/text": text, "/early": early, "/left": left, "/{id}/stream": resume}


@contextlib.asynccontextmanager
async def aiohttp_app(runs: Runs, feed: Feed) -> AsyncIterator[str]:
    app = web.Application()
    for path, view in views(headgate.web.aiohttp, runs, feed).items():
        app.router.add_get(path, view)
    async with aiohttp_of(app) as url:
        yield url


@contextlib.asynccontextmanager
async def starlette_app(runs: Runs, feed: Feed) -> AsyncIterator[str]:
    routes = views(headgate.web.starlette, runs, feed).items()
    async with uvicorn_of(Starlette(routes=[Route(path, view) for path, view in routes])) as url:
        yield url


class Page:
    """A client of the application of some framework, and the source of its runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession, feed: Feed) -> None:
        self.feed = feed
        self._url, self._session = url, session

    def get(self, path: str, **about: Any) -> Any:
        return self._session.get(f"{self._url}{path}", **about)

    async def read(self, path: str, **about: Any) -> tuple[int, bytes]:
        async with self.get(path, **about) as answer:
            return answer.status, await answer.read()


@pytest.fixture(params=[aiohttp_app, starlette_app], ids=["aiohttp", "starlette"])
async def page(request: pytest.FixtureRequest, runs: Runs) -> AsyncIterator[Page]:
    feed = Feed()
    async with request.param(runs, feed) as url, aiohttp.ClientSession() as session:
        yield Page(url, session, feed)


async def test_frameworks_send_an_answer_while_it_is_produced(page: Page) -> None:
    early = asyncio.ensure_future(page.read("/early"))
    assert await page.read("/chat%201/stream") == (204, b"")
    async with page.get("/ask") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["x-workflow-run-id"] == "chat 1"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        begun = ANSWER.partition(b'data: {"type":"start-step"')[0]
        assert await answer.content.readexactly(len(begun)) == begun
        page.feed.give("Once", StopAsyncIteration)
        assert begun + await answer.read() == ANSWER
    assert await early == (200, ANSWER)


async def test_a_returning_client_resumes_an_answer_at_its_cursor(page: Page) -> None:
    page.feed.give("Once")
    async with page.get("/ask") as answer:
        await answer.content.readuntil(b"Once")  # and then the page is loaded anew
    async with page.get("/chat%201/stream") as whole:
        page.feed.end()
        assert await whole.read() == ANSWER
    end, finish = (b"\n\n".join(ANSWER.split(b"\n\n")[first:]) for first in (4, 6))
    stream = "/chat%201/stream"
    assert await page.read(f"{stream}?startIndex=4") == (200, end)
    assert await page.read(f"{stream}?after=4") == (200, end)
    last = {"Last-Event-ID": "6"}
    assert await page.read(f"{stream}?startIndex=0", headers=last) == (200, finish)
    async with page.get(f"{stream}?startIndex=-1") as tail:
        assert tail.headers["x-workflow-stream-tail-index"] == "6"
        assert await tail.read() == finish
    for nothing in ("", "?startIndex=7"):
        assert await page.read(f"{stream}{nothing}") == (204, b"")


async def test_a_cursor_that_is_no_number_and_a_long_id_get_400(page: Page) -> None:
    for index in ("x", "1.5", "--1", "²", "1" * 16):
        status, why = await page.read("/chat%201/stream", params={"startIndex": index})
        assert (status, why[:6]) == (400, b"after,"), index
    status, why = await page.read(f"/{'x' * 1025}/stream")
    assert (status, b"at most 1024 bytes" in why) == (400, True)


@pytest.mark.parametrize("end", ["failure", "stop", "disconnect"])
async def test_a_text_answer_ends_or_breaks_off_as_its_run_does_and_nothing_is_logged(
    page: Page, runs: Runs, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    async with page.get("/text") as answer:
        page.feed.give("Once ")
        assert await answer.content.readexactly(5) == b"Once "
        if end == "failure":
            page.feed.give("upon ", RuntimeError())
            assert await answer.content.readexactly(5) == b"upon "
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
        elif end == "stop":
            assert await runs.stop("a")
            assert await answer.content.read() == b""
        else:
            answer.close()
            assert await page.read("/left") == (204, b"")
            page.feed.end()
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
