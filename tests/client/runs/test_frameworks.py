"""Runs and the routes of chats in each framework, asked over HTTP as a page does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import flask
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Route

import headgate.sync.django
import headgate.sync.flask
import headgate.web.aiohttp
import headgate.web.django
import headgate.web.starlette
from headgate import sync
from headgate.chats import Chats
from headgate.runs import Runs
from headgate.web import chat_requests
from tests.client.runs.django_serving import django_of, django_of_threads
from tests.client.runs.serving import aiohttp_of, uvicorn_of, werkzeug_of
from tests.client.runs.sources import Feed
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from types import ModuleType

    from headgate.chats import Turn

NOTHING: dict[str, Any] = {"messages": [], "states": {}}
ALLOWED = {"Authorization": "ann"}
ANSWER = (
    'data: {"type":"start","messageId":"chat 1"}\n\n'
    'data: {"type":"start-step"}\n\n'
    'data: {"type":"text-start","id":"text-1"}\n\n'
    'data: {"type":"text-delta","id":"text-1","delta":"Once"}\n\n'
    'data: {"type":"text-end","id":"text-1"}\n\n'
    'data: {"type":"finish-step"}\n\n'
    'data: {"type":"finish"}\n\n'
    "data: [DONE]\n\n"
)


def may_use(request: Any, chat: str) -> str | None:
    """Give who asks; whoever is asked for another's chat forgets to."""
    name: str | None = request.headers.get("Authorization")
    return name if not chat.startswith("theirs") else None


async def may_use_later(request: Any, chat: str) -> str | None:
    """Give the same, as an application does that asks its database."""
    return may_use(request, chat)


def message_of(fields: bytes) -> bytes:
    """Return a whole request whose message has the id 1 and these fields, of JSON."""
    return b'{"id":"c","message":{"id":"1",%b}}' % fields


def with_metadata(metadata: bytes) -> bytes:
    """Return one whose message has this metadata."""
    return message_of(b'"role":"user","parts":[],"metadata":%b' % metadata)


async def left_body(body: AsyncGenerator[bytes], is_left: asyncio.Event) -> AsyncGenerator[bytes]:
    try:
        async for piece in body:
            yield piece
    finally:
        is_left.set()


def views(module: ModuleType, runs: Runs, feed: Feed) -> dict[str, Callable[[Any], Any]]:
    """Return views of runs, by their paths; that of `left` answers once a reader has left."""
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

    all_views = {"ask": ask, "text": text, "early": early, "left": left, "{id}": resume}
    return {f"/api/chat/runs/{name}": view for name, view in all_views.items()}


class Page:
    """A page with its session, and the model behind it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, feed: Feed) -> None:
        self.feed = feed
        self._url, self._session = url, session

    def get(self, path: str, method: str = "GET", **about: Any) -> Any:
        return self._session.request(method, f"{self._url}{path}", **about)

    async def ask(
        self, method: str, path: str = "", headers: dict[str, str] = ALLOWED, **about: Any
    ) -> tuple[int, str]:
        """Return the status of the answer, and its body."""
        async with self.get(path, method, headers=headers, **about) as answer:
            return answer.status, await answer.text()

    async def send(self, chat: str, text: str) -> tuple[int, str]:
        """Ask as `useChat` does."""
        message = {"id": text, "role": "user", "parts": [{"type": "text", "text": text}]}
        body = {"id": chat, "messages": [message], "trigger": "submit-message"}
        return await self.ask("POST", json=body)


@contextlib.asynccontextmanager
async def aiohttp_app(chats: Chats, answer: Any, feed: Feed) -> AsyncIterator[str]:
    app, module = web.Application(), headgate.web.aiohttp
    app.add_routes(module.chat_router(chats, answer, authorize=may_use))
    app.add_routes([web.get(*each) for each in views(module, chats.runs, feed).items()])
    async with aiohttp_of(app) as url:
        yield url


@contextlib.asynccontextmanager
async def starlette_app(chats: Chats, answer: Any, feed: Feed) -> AsyncIterator[str]:
    module = headgate.web.starlette
    routes = [*module.chat_router(chats, answer, authorize=may_use_later)]
    routes += [Route(*each) for each in views(module, chats.runs, feed).items()]
    async with uvicorn_of(Starlette(routes=routes)) as url:
        yield url


@contextlib.asynccontextmanager
async def django_app(chats: Chats, answer: Any, _: Feed) -> AsyncIterator[str]:
    routes = headgate.web.django.chat_router(chats, answer, authorize=may_use_later)
    async with django_of(routes) as url:
        yield url


@contextlib.asynccontextmanager
async def flask_app(chats: Chats, _: Any, feed: Feed) -> AsyncIterator[str]:
    app = flask.Flask(__name__)
    async with of_threads(chats, feed) as ours:
        app.register_blueprint(headgate.sync.flask.chat_router(*ours, authorize=may_use))
        async with werkzeug_of(app) as url:
            yield url


@contextlib.asynccontextmanager
async def django_app_of_threads(chats: Chats, _: Any, feed: Feed) -> AsyncIterator[str]:
    async with of_threads(chats, feed) as ours:
        routes = headgate.sync.django.chat_router(*ours, authorize=may_use)
        async with django_of_threads(routes) as url:
            yield url


@contextlib.asynccontextmanager
async def of_threads(chats: Chats, feed: Feed) -> AsyncIterator[tuple[sync.Chats, Any]]:
    """The chats, and what gives the source of an answer, as threads have them."""
    loop = asyncio.get_running_loop()

    def answer(turn: Turn) -> Iterator[object]:
        check_turn(turn)
        source = feed.source()

        async def next_item() -> object:
            return await anext(source, None)

        while item := asyncio.run_coroutine_threadsafe(next_item(), loop).result():
            yield item

    runs = sync.Runs(chats.runs._place("x").items.url.removesuffix("/x"))
    yield sync.Chats(runs, busy_after=0), answer
    await asyncio.to_thread(runs.close, 0)


def check_turn(turn: Turn) -> None:
    assert turn.user == "ann"
    assert turn.body["id"] == turn.chat_id


@contextlib.asynccontextmanager
async def page_of(application: Callable[..., Any], runs: Runs) -> AsyncIterator[Page]:
    feed = Feed()

    def answer(turn: Turn) -> Any:
        check_turn(turn)
        return feed.source()

    chats = Chats(runs, busy_after=0)
    async with application(chats, answer, feed) as url, aiohttp.ClientSession() as session:
        yield Page(f"{url}/api/chat", session, feed)


FOR_RUNS = [aiohttp_app, starlette_app]
APPLICATIONS = [*FOR_RUNS, django_app, django_app_of_threads, flask_app]


@pytest.fixture(params=APPLICATIONS)
async def page(request: pytest.FixtureRequest, runs: Runs) -> AsyncIterator[Page]:
    async with page_of(request.param, runs) as page:
        yield page


@pytest.mark.parametrize("page", FOR_RUNS, indirect=True)
async def test_frameworks_send_a_run_while_it_is_produced_and_resume_it_at_a_cursor(
    page: Page,
) -> None:
    early = asyncio.ensure_future(page.ask("GET", "/runs/early"))
    run = "/runs/chat%201"
    assert await page.ask("GET", run) == (204, "")
    async with page.get("/runs/ask") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["x-workflow-run-id"] == "chat 1"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        begun = ANSWER.partition('data: {"type":"start-step"')[0]
        assert (await answer.content.readexactly(len(begun))).decode() == begun
        page.feed.give("Once", StopAsyncIteration)
        assert begun + (await answer.read()).decode() == ANSWER
    assert await early == (200, ANSWER)
    end, finish = ("\n\n".join(ANSWER.split("\n\n")[first:]) for first in (4, 6))
    assert await page.ask("GET", f"{run}?after=4") == (200, end)
    last = {"Last-Event-ID": "6"}
    assert await page.ask("GET", f"{run}?startIndex=0", headers=last) == (200, finish)
    async with page.get(f"{run}?startIndex=-1") as tail:
        assert tail.headers["x-workflow-stream-tail-index"] == "6"
        assert (await tail.read()).decode() == finish
    for nothing in ("", "?startIndex=7"):
        assert await page.ask("GET", f"{run}{nothing}") == (204, "")


@pytest.mark.parametrize("page", FOR_RUNS, indirect=True)
@pytest.mark.parametrize("end", ["failure", "stop", "disconnect"])
async def test_a_text_answer_ends_or_breaks_off_as_its_run_does_and_nothing_is_logged(
    page: Page, runs: Runs, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    async with page.get("/runs/text") as answer:
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
            assert await page.ask("GET", "/runs/left") == (204, "")
            page.feed.end()
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_each_chat_route_answers_a_page_over_http(page: Page) -> None:
    page.feed.give("Once")
    page.feed.end()
    status, body = await page.send("c", "Tell.")
    assert status == 200
    assert '"delta":"Once"' in body
    status, body = await page.ask("GET", "/c")
    history = json.loads(body)
    assert status == 200
    assert [each["role"] for each in history["messages"]] == ["user", "assistant"]
    state = history["states"]["Tell."]
    assert state.pop("asked_at") > 0
    assert state == {"run_id": history["messages"][1]["id"], "status": "finished", "error": None}
    assert await page.ask("GET", "/c/stream") == (204, "")
    run = history["messages"][1]["id"]
    status, body = await page.ask("GET", f"/{run}/stream?startIndex=2")
    assert status == 200
    assert body.startswith('data: {"type":"text-start"')
    assert json.loads((await page.ask("POST", "/c/stop"))[1]) == {"stopped": False}
    assert json.loads((await page.ask("DELETE", "/c"))[1]) == {"deleted": True}
    assert json.loads((await page.ask("GET", "/c"))[1]) == NOTHING


async def test_half_of_a_surrogate_pair_in_a_message_is_stored_as_the_replacement_character(
    page: Page,
) -> None:
    """A page makes it by cutting a text within an emoji, and then sends it with each message."""
    half = rb'{"id":"1","role":"user","parts":[{"type":"text","text":"cut \ud83e \ud83d\ude00"}]}'
    page.feed.end()
    assert (await page.ask("POST", data=b'{"id":"c","messages":[%b]}' % half))[0] == 200
    asked = json.loads((await page.ask("GET", "/c"))[1])["messages"][0]
    assert asked["parts"][0]["text"] == "cut \ufffd \U0001f600"


async def test_a_bad_chat_request_is_answered_with_its_status_and_a_sentence(page: Page) -> None:
    nested = [b'{"a":' * depth + b"1" + b"}" * depth for depth in (70, 900)]
    refused = [
        (b"{", "the body of the request is no JSON"),
        (b"[]", "is a JSON object with an id and messages"),
        *((body, "the body has no id") for body in (b"{}", b'{"id":null}', b'{"messages":[]}')),
        (b'{"id":["c"]}', "the id of a chat is a string"),
        (b'{"id":"a/b"}', "the id of a chat is 1 to 128 letters, digits, '-' and '_' of ASCII"),
        (b'{"id":"a/b"}', "not 'a/b'"),
        (b'{"id":"c"}', "there is no message"),
        (b'{"id":"c","messages":[]}', "there is no message"),
        (b'{"id":"c","messages":[1],"trigger":"submit-message"}', "there is no message"),
        (b'{"id":"c","messages":[{}],"trigger":"other"}', "not 'other'"),
        (b'{"id":"c","message":{}}', "a message has an id"),
        (message_of(b'"role":"system"'), "role 'user' or 'assistant', not 'system'"),
        (message_of(b'"role":["user"]'), "a page sends messages of the role"),
        (message_of(b'"role":"user"'), "a message has parts"),
        (message_of(b'"role":"user","parts":[{}]'), "a message has parts"),
        (message_of(b'"role":"user","parts":[{"type":"text"}]'), "has a text"),
        (message_of(b'"role":"assistant","parts":[]'), "no message of the assistant's"),
        *((with_metadata(it), "is no JSON") for it in (rb'"\ud83e",b:1', rb'["\ud83e",NaN]')),
        (with_metadata(b'"\xed\xa0\xbe"'), "is no JSON"),
        *((with_metadata(it), "nested more than 63 levels deep") for it in nested),
    ]
    for body, sentence in refused:
        status, told = await page.ask("POST", data=body)
        assert (status, sentence in told) == (400, True), (body, told)
    for path in (
        "/c/stream?after=x",
        "/c/stream?wait=31",
        "/c/stream?wait=x",
        "/c/stream?wait=0000000001",
        "/c.x/stream",
    ):
        assert (await page.ask("GET", path))[0] == 400, path
    for path in ("", "/c", "/c/stream", "/c/stop"):
        assert (await page.ask("PUT", path))[0] == 405, path


async def test_a_body_beyond_the_bound_gets_413_and_one_not_encoded_as_its_head_says_400(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_requests, "MOST_BODY_BYTES", 1000)
    most = b'{"id":""}'.ljust(1000)
    assert (await page.ask("POST", data=most))[0] == 400
    assert await page.ask("POST", data=most + b" ") == (413, "a request has at most 1000 bytes")
    gzip = {**ALLOWED, "Content-Encoding": "gzip"}
    assert (await page.ask("POST", headers=gzip, data=b"{}"))[0] == 400


async def test_an_unauthorized_user_of_a_chat_gets_403_from_every_route(page: Page) -> None:
    asked = [("GET", ""), ("DELETE", ""), ("GET", "/stream"), ("POST", "/stop")]
    refusal = (403, "you may not use this chat")
    for method, path in asked:
        assert await page.ask(method, f"/theirs{path}") == refusal
        assert await page.ask(method, f"/c{path}", headers={}) == refusal
    run = f"theirs.{'0' * 16}"
    assert await page.ask("GET", f"/{run}/stream?after=0") == refusal
    assert await page.send("theirs", "Tell.") == refusal


async def test_a_chat_message_gets_409_while_another_is_being_answered(
    page: Page, other: Runs
) -> None:
    first = {"id": "1", "role": "user", "parts": []}
    await Chats(other).send("c", first, lambda _: page.feed.source())
    assert await page.send("c", "Tell.") == (
        409,
        "the answer to another message goes on: stop it first",
    )
    assert json.loads((await page.ask("POST", "/c/stop"))[1]) == {"stopped": True}


async def test_chat_routes_answer_503_while_the_server_is_away() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/stream/chats"
    async with Runs(url) as runs, page_of(aiohttp_app, runs) as page:
        assert await page.ask("GET", "/c") == (503, "the chat cannot be reached for now")
        assert (await page.send("c", "Tell."))[0] == 503


async def test_a_chat_router_without_authorize_is_refused(runs: Runs) -> None:
    router: Any = headgate.web.starlette.chat_router
    with pytest.raises(TypeError, match="authorize"):
        router(Chats(runs), None)
    with pytest.raises(TypeError, match="authorize"):
        router(Chats(runs), None, authorize=None)
