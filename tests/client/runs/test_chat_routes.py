"""The routes of chats in each framework, asked over HTTP as a page does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import flask
import headgate.sync.django
import headgate.sync.flask
import headgate.web.aiohttp
import headgate.web.django
import headgate.web.starlette
import pytest
from aiohttp import web
from headgate import sync
from headgate.chats import Chats
from headgate.runs import Runs
from headgate.web import chat_requests
from starlette.applications import Starlette

from tests.client.runs.django_serving import django_of, django_of_threads
from tests.client.runs.serving import aiohttp_of, uvicorn_of, werkzeug_of
from tests.client.runs.sources import Feed
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from headgate.chats import Turn

NOTHING: dict[str, Any] = {"messages": [], "states": {}}
ALLOWED = {"Authorization": "ann"}


def may_use(request: Any, chat: str) -> str | None:
    """Give who asks; whoever is asked for another's chat forgets to."""
    name: str | None = request.headers.get("Authorization")
    return name if not chat.startswith("theirs") else None


async def may_use_later(request: Any, chat: str) -> str | None:
    """Give the same, as an application does that asks its database."""
    return may_use(request, chat)


def message_of(metadata: bytes) -> bytes:
    """Return a whole request whose message has this metadata, of JSON."""
    about = b'"id":"1","role":"user","parts":[]'
    return b'{"id":"c","message":{%b,"metadata":%b}}' % (about, metadata)


class Page:
    """A page with its session, and the model behind it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, feed: Feed) -> None:
        self.url = url
        self.feed = feed
        self._session = session

    async def ask(
        self, method: str, path: str = "", headers: dict[str, str] = ALLOWED, **about: Any
    ) -> tuple[int, str]:
        """Return the status of the answer, and its body."""
        url = f"{self.url}{path}"
        async with self._session.request(method, url, headers=headers, **about) as answer:
            return answer.status, await answer.text()

    async def send(self, chat: str, text: str) -> tuple[int, str]:
        """Ask as `useChat` does."""
        message = {"id": text, "role": "user", "parts": [{"type": "text", "text": text}]}
        body = {"id": chat, "messages": [message], "trigger": "submit-message"}
        return await self.ask("POST", json=body)


@contextlib.asynccontextmanager
async def aiohttp_app(*about: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(headgate.web.aiohttp.chat_router(*about, authorize=may_use))
    async with aiohttp_of(app) as url:
        yield url


@contextlib.asynccontextmanager
async def starlette_app(*about: Any) -> AsyncIterator[str]:
    routes = headgate.web.starlette.chat_router(*about, authorize=may_use_later)
    async with uvicorn_of(Starlette(routes=[*routes])) as url:
        yield url


@contextlib.asynccontextmanager
async def django_app(*about: Any) -> AsyncIterator[str]:
    routes = headgate.web.django.chat_router(*about, authorize=may_use_later)
    async with django_of(routes) as url:
        yield url


@contextlib.asynccontextmanager
async def flask_app(*about: Any) -> AsyncIterator[str]:
    app = flask.Flask(__name__)
    async with of_threads(*about) as ours:
        app.register_blueprint(headgate.sync.flask.chat_router(*ours, authorize=may_use))
        async with werkzeug_of(app) as url:
            yield url


@contextlib.asynccontextmanager
async def django_app_of_threads(*about: Any) -> AsyncIterator[str]:
    async with of_threads(*about) as ours:
        routes = headgate.sync.django.chat_router(*ours, authorize=may_use)
        async with django_of_threads(routes) as url:
            yield url


@contextlib.asynccontextmanager
async def of_threads(chats: Chats, answer: Any) -> AsyncIterator[tuple[sync.Chats, Any]]:
    """The chats, and what gives the source of an answer, as threads have them."""
    loop = asyncio.get_running_loop()

    def answer_in_thread(turn: Turn) -> Iterator[object]:
        source = answer(turn)

        async def next_item() -> object:
            return await anext(source, None)

        while item := asyncio.run_coroutine_threadsafe(next_item(), loop).result():
            yield item

    runs = sync.Runs(chats.runs._place("x").items.url.removesuffix("/x"))
    yield sync.Chats(runs, busy_after=0), answer_in_thread
    await asyncio.to_thread(runs.close, 0)


@contextlib.asynccontextmanager
async def page_of(application: Callable[..., Any], runs: Runs) -> AsyncIterator[Page]:
    feed = Feed()

    def answer(turn: Turn) -> Any:
        assert turn.user == "ann"
        assert turn.body["id"] == turn.chat_id
        return feed.source()

    chats = Chats(runs, busy_after=0)
    async with application(chats, answer) as url, aiohttp.ClientSession() as session:
        yield Page(f"{url}/api/chat", session, feed)


APPLICATIONS = [
    aiohttp_app,
    starlette_app,
    django_app,
    django_app_of_threads,
    flask_app,
]


@pytest.fixture(params=APPLICATIONS)
async def page(request: pytest.FixtureRequest, runs: Runs) -> AsyncIterator[Page]:
    async with page_of(request.param, runs) as page:
        yield page


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
    refused = [
        (b"{", "the body of the request is no JSON"),
        (b"[]", "is a JSON object with an id and messages"),
        (b"{}", "the id of a chat is"),
        (b'{"id":"a/b"}', "the id of a chat is"),
        (b'{"id":"c"}', "there is no message"),
        (b'{"id":"c","messages":[]}', "there is no message"),
        (b'{"id":"c","message":{"id":"1"}}', "a page sends messages of the role"),
        (b'{"id":"c","messages":[1],"trigger":"submit-message"}', "there is no message"),
        (b'{"id":"c","messages":[{}],"trigger":"other"}', "the trigger is"),
        (b'{"id":["c"],"messages":[{}]}', "the id of a chat is"),
        (b'{"id":"c","message":{"id":"1","role":["user"],"parts":[]}}', "of the role"),
        (message_of(rb'"\ud83e",b:1'), "is no JSON"),
        (message_of(rb'["\ud83e",NaN]'), "is no JSON"),
        (message_of(b'"\xed\xa0\xbe"'), "is no JSON"),
        (message_of(b'{"a":' * 70 + b"1" + b"}" * 70), "nested more than 64 levels deep"),
        (message_of(b'{"a":' * 900 + b"1" + b"}" * 900), "nested more than 64 levels deep"),
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
