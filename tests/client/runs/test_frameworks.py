"""Runs behind aiohttp and behind Starlette, asked over HTTP as clients of a chat do."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import headgate.web.aiohttp
import headgate.web.starlette
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Route

from tests.client.runs.serving import uvicorn_of
from tests.client.runs.sources import Feed
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from headgate.runs import Answer, Runs
    from starlette.requests import Request
    from starlette.responses import Response

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


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """As `web.run_app` does: a handler goes on when its client has left."""
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def aiohttp_app(runs: Runs, feed: Feed) -> AsyncIterator[str]:
    """A chat behind aiohttp, and an answer in the format text."""

    async def ask(request: web.Request) -> web.StreamResponse:
        answer = await runs.start("chat 1", feed.source(), format="ai-sdk")
        return headgate.web.aiohttp.send(answer)

    async def resume(request: web.Request) -> web.StreamResponse:
        return await headgate.web.aiohttp.resume(request, runs, request.match_info["id"])

    async def come_early(request: web.Request) -> web.StreamResponse:
        return await headgate.web.aiohttp.resume(request, runs, "chat 1", wait=PATIENCE_S)

    async def tell(request: web.Request) -> web.StreamResponse:
        return headgate.web.aiohttp.send(await runs.start("a", feed.source()))

    app = web.Application()
    app.router.add_get("/chat/early", come_early)
    app.router.add_get("/chat/text", tell)
    app.router.add_post("/chat", ask)
    app.router.add_get("/chat/{id}/stream", resume)
    async with served(app) as url:
        yield f"{url}/chat"


@contextlib.asynccontextmanager
async def starlette_app(runs: Runs, feed: Feed) -> AsyncIterator[str]:
    """The same chat behind Starlette and uvicorn."""

    async def ask(request: Request) -> Response:
        answer = await runs.start("chat 1", feed.source(), format="ai-sdk")
        return headgate.web.starlette.send(answer)

    async def resume(request: Request) -> Response:
        return await headgate.web.starlette.resume(request, runs, request.path_params["id"])

    async def come_early(request: Request) -> Response:
        return await headgate.web.starlette.resume(request, runs, "chat 1", wait=PATIENCE_S)

    async def tell(request: Request) -> Response:
        return headgate.web.starlette.send(await runs.start("a", feed.source()))

    routes = [
        Route("/chat/early", come_early),
        Route("/chat/text", tell),
        Route("/chat", ask, methods=["POST"]),
        Route("/chat/{id}/stream", resume),
    ]
    async with uvicorn_of(Starlette(routes=routes)) as url:
        yield f"{url}/chat"


@pytest.fixture(params=[aiohttp_app, starlette_app], ids=["aiohttp", "starlette"])
async def chat(request: pytest.FixtureRequest, runs: Runs, feed: Feed) -> AsyncIterator[str]:
    async with request.param(runs, feed) as url:
        yield url


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_frameworks_send_an_answer_while_it_is_produced(
    chat: str, feed: Feed, client: aiohttp.ClientSession
) -> None:
    async with client.post(chat) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["x-workflow-run-id"] == "chat 1"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        begun = ANSWER.partition(b'data: {"type":"start-step"')[0]
        assert await answer.content.readexactly(len(begun)) == begun
        feed.give("Once")
        feed.end()
        assert begun + await answer.read() == ANSWER


async def test_a_returning_client_resumes_an_answer_at_its_cursor(
    chat: str, feed: Feed, client: aiohttp.ClientSession
) -> None:
    feed.give("Once")
    async with client.post(chat) as answer:
        await answer.content.readuntil(b"Once")  # and then the page is loaded anew
    async with client.get(f"{chat}/chat%201/stream") as whole:
        assert whole.status == 200
        feed.end()
        assert await whole.read() == ANSWER
    async with client.get(f"{chat}/chat%201/stream?startIndex=4") as rest:
        assert await rest.read() == ANSWER[ANSWER.index(b'data: {"type":"text-end"') :]
    async with client.get(f"{chat}/chat%201/stream?after=4") as rest:
        assert await rest.read() == ANSWER[ANSWER.index(b'data: {"type":"text-end"') :]
    headers = {"Last-Event-ID": "6"}
    async with client.get(f"{chat}/chat%201/stream?startIndex=0", headers=headers) as rest:
        assert await rest.read() == ANSWER[ANSWER.index(b'data: {"type":"finish"') :]
    async with client.get(f"{chat}/chat%201/stream?startIndex=-1") as tail:
        assert tail.headers["x-workflow-stream-tail-index"] == "6"
        assert await tail.read() == ANSWER[ANSWER.index(b'data: {"type":"finish"') :]


async def test_resuming_without_an_active_run_gets_204(
    chat: str, feed: Feed, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{chat}/chat%201/stream") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    feed.give("Once")
    feed.end()
    async with client.post(chat) as answer:
        await answer.read()
    for query in ("", "?startIndex=7"):
        async with client.get(f"{chat}/chat%201/stream{query}") as answer:
            assert (answer.status, await answer.read()) == (204, b"")


async def test_a_client_that_resumes_before_the_run_starts_waits_for_it(
    chat: str, feed: Feed, client: aiohttp.ClientSession
) -> None:
    early = asyncio.ensure_future(client.get(f"{chat}/early"))
    async with client.get(f"{chat}/chat%201/stream") as nothing:
        assert nothing.status == 204
    assert not early.done()
    feed.give("Once")
    feed.end()
    async with client.post(chat) as answer, await early as whole:
        assert await answer.read() == ANSWER
        assert await whole.read() == ANSWER


@pytest.mark.parametrize("index", ["x", "1.5", "--1", "²", "1" * 16])
async def test_a_start_index_that_is_no_number_gets_400(
    chat: str, client: aiohttp.ClientSession, index: str
) -> None:
    async with client.get(f"{chat}/chat%201/stream", params={"startIndex": index}) as answer:
        assert answer.status == 400
        assert (
            await answer.text()
            == "after, startIndex and Last-Event-ID are whole numbers, or ids of events"
        )


async def test_a_client_that_disconnects_leaves_no_aiohttp_log_line(
    runs: Runs, feed: Feed, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    is_left = asyncio.Event()

    async def body(answer: Answer) -> AsyncGenerator[bytes]:
        try:
            async for piece in answer.body:
                yield piece
        finally:
            is_left.set()

    async def ask(_: web.Request) -> web.StreamResponse:
        answer = await runs.start("a", feed.source())
        return headgate.web.aiohttp.send(replace(answer, body=body(answer)))

    app = web.Application()
    app.router.add_get("/", ask)
    async with served(app) as url:
        async with client.get(url) as answer:
            feed.give("Once ")
            assert await answer.content.readexactly(5) == b"Once "
            answer.close()
        while not is_left.is_set():
            feed.give("upon ")
            await asyncio.sleep(0.01)
        feed.end()
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_run_id_beyond_1024_bytes_gets_400(
    chat: str, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{chat}/{'x' * 1025}/stream") as answer:
        assert answer.status == 400
        assert "at most 1024 bytes" in await answer.text()


async def test_a_text_answer_of_a_failed_run_breaks_off_after_its_last_item(
    chat: str, runs: Runs, feed: Feed, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{chat}/text") as answer:
        feed.give("Once ")
        assert await answer.content.readexactly(5) == b"Once "
        feed.give("upon ", RuntimeError())
        assert await answer.content.readexactly(5) == b"upon "
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


async def test_a_text_answer_of_a_stopped_run_ends_regularly(
    chat: str, runs: Runs, feed: Feed, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{chat}/text") as answer:
        feed.give("Once ")
        assert await answer.content.readexactly(5) == b"Once "
        assert await runs.stop("a")
        assert await answer.content.read() == b""


async def test_a_text_answer_that_breaks_off_leaves_no_aiohttp_log_line(
    runs: Runs, feed: Feed, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp_app(runs, feed) as url, client.get(f"{url}/text") as answer:
        feed.give("Once ", RuntimeError())
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
