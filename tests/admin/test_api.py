"""The API over a gateway in this process: real listeners, streams in memory."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from admin import events
from admin.api import openapi
from admin.api.openapi import OPERATIONS
from admin.app import build
from admin.streams import client
from gateway.process.gateway import Gateway
from gateway.settings import Address, Settings
from tests.admin.consoles import ADMITTED, OPERATOR, Switchboard, served, setup
from tests.support.admin_server import AdminServer
from tests.support.given_settings import sections
from tests.support.log_level import kept_level
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROUTE = "/v1/stream"
NAMED = {
    400: {"title": "Bad request", "code": "bad_request"},
    404: {"title": "Not found", "code": "not_found"},
}
HOSTILE = "%3Cb%3E%22'&%20%E2%80%AE"  # <b>"'& and a mark that turns the text around


class Console:
    """The admin listener and the streams of one gateway, as a script sees them."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: Settings, gateway: Gateway
    ) -> None:
        self._session = session
        self.gateway = gateway
        self.admin = f"http://{settings.admin.listen}"
        self.streams = f"http://{settings.listen}{ROUTE}"
        self.headers = {"Authorization": f"Bearer {OPERATOR}"}

    async def ask(
        self, method: str, path: str, body: object = None, **query: str | int
    ) -> tuple[int, Any]:
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self._session.request(
            method, self.admin + path, data=data, params=query, headers=self.headers
        ) as answer:
            text = await answer.text()
            told: Any = json.loads(text) if text else None
            if answer.status >= 400:  # one form for all errors: docs/http.md#errors
                assert [*told] == ["type", "title", "status", "code", "detail"], told
                assert told["type"] == "about:blank", told
            return answer.status, told

    async def get(self, path: str, **query: str | int) -> Any:
        status, told = await self.ask("GET", path, **query)
        assert (path, status) == (path, 200)
        return told

    async def create(self, name: str, content_type: str, *bodies: bytes) -> list[str]:
        """A stream with these appends; the offsets behind each."""
        headers = {"Content-Type": content_type}
        url = f"{self.streams}/{name}"
        async with self._session.put(URL(url, encoded=True), headers=headers):
            pass
        offsets = []
        for body in bodies:
            async with self._session.post(
                URL(url, encoded=True), headers=headers, data=body
            ) as answer:
                assert answer.status == 204
                offsets.append(answer.headers["Stream-Next-Offset"])
        return offsets

    def events(self, path: str, **query: str) -> Any:
        return self._session.get(self.admin + path, params=query, headers=self.headers)


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    async with opened("127.0.0.1") as console:
        yield console


@asynccontextmanager
async def opened(host: str, long_poll_timeout: float = 0.2, **more: Any) -> AsyncIterator[Console]:
    """The console of a gateway whose streams are served at this host."""
    settings = Settings(
        listen=Address(host, free_port()),
        auth="none",
        storage="memory:",
        admin={"listen": Address("127.0.0.1", free_port()), "tokens": ADMITTED},
        live={"long_poll_timeout": long_poll_timeout},
        **sections(more),
    )
    gateway = Gateway(settings)
    await gateway.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Console(session, settings, gateway)
    finally:
        await gateway.stop()


# ---------------------------------------------------------------- messages


def told(messages: Any) -> list[str]:
    return [message["text"] for message in messages["messages"]]


async def test_json_messages_are_listed_one_by_one_wherever_a_page_ends(console: Console) -> None:
    _, last = await console.create("chat", "application/json", b'[{"a": 1},[2]]', b'"three"')
    path = "/api/v1/stream/messages"
    whole = await console.get(path, route=ROUTE, name="chat")
    assert told(whole) == ['{"a": 1}', "[2]", '"three"']
    assert (whole["behind"], whole["tail"], whole["closed"]) == (None, last, False)
    offsets = [message["next_offset"] for message in whole["messages"]]
    assert offsets == [None, None, last]

    place: Any = {"offset": "-1", "skip": 0}
    seen = []
    while place is not None:
        page = await console.get(path, route=ROUTE, name="chat", limit=1, **place)
        seen += told(page)
        place = page["behind"]
    assert seen == told(whole)


async def test_reading_the_latest_messages_ends_at_the_tail(console: Console) -> None:
    bodies = [json.dumps([f"{n:05d}" * 100] * 100).encode() for n in range(12)]  # 600 kB
    offsets = await console.create("long", "application/json", *bodies)
    page = await console.get(
        "/api/v1/stream/messages", route=ROUTE, name="long", offset="latest", limit=3
    )
    assert told(page) == [json.dumps("00011" * 100)] * 3
    assert page["tail"] == offsets[-1]
    # What stands before them is found from the same place.
    again = await console.get("/api/v1/stream/messages", route=ROUTE, name="long", **page["begin"])
    assert told(again) == told(page)


async def test_the_api_shows_an_empty_stream_with_a_tail_and_no_messages(console: Console) -> None:
    await console.create("none", "text/plain")
    for offset in ("-1", "latest"):
        page = await console.get("/api/v1/stream/messages", route=ROUTE, name="none", offset=offset)
        assert page["messages"] == []
        assert page["tail"] is not None


async def test_a_message_that_is_no_text_is_returned_as_base64_data(console: Console) -> None:
    await console.create("raw", "application/octet-stream", b"\x00\xff<b>")
    page = await console.get("/api/v1/stream/messages", route=ROUTE, name="raw")
    assert page["messages"][0] | {"next_offset": None, "offset": None} == {
        "size": 5,
        "text": None,
        "data": "AP88Yj4=",
        "truncated": False,
        "next_offset": None,
        "offset": None,
    }


async def test_hostile_message_text_is_returned_unchanged_by_the_api(console: Console) -> None:
    text = "<script>alert(1)</script>\u202e\x01\"'"
    await console.create(HOSTILE, "text/plain", text.encode())
    page = await console.get("/api/v1/stream/messages", route=ROUTE, name=HOSTILE)
    assert told(page) == [text]
    answer = await console.get("/api/v1/stream/messages", route=ROUTE, name="<b>\"'& \u202e")
    assert answer == page


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("nobody", 404, "there is no stream at this path"),
        ("a/../b", 400, "the path has a dot segment"),
        pytest.param("x" * 2100, 400, "the path is over 2048 bytes", id="a-name-over-the-limit"),
        ("", 404, "a stream has a name: /v1/stream/NAME"),
    ],
)
async def test_messages_of_an_unknown_or_invalid_stream_name_get_a_problem_response(
    name: str, status: int, detail: str, console: Console
) -> None:
    assert await console.ask("GET", "/api/v1/stream/messages", route=ROUTE, name=name) == (
        status,
        {"type": "about:blank", "status": status, "detail": detail} | NAMED[status],
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "localhost"])
async def test_the_console_reaches_streams_on_every_listen_address(host: str) -> None:
    async with opened(host) as console:
        status, problem = await console.ask(
            "GET", "/api/v1/stream/messages", route=ROUTE, name="none"
        )
    assert (status, problem["detail"]) == (404, "there is no stream at this path")


# ---------------------------------------------------------------- changes


async def test_an_operator_appends_to_closes_and_deletes_a_stream_by_the_api(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    await console.create("s", "application/json")
    stream = {"route": ROUTE, "name": "s"}
    status, written = await console.ask(
        "POST", "/api/v1/stream/append", {**stream, "data": "[1,2]"}
    )
    assert status == 200
    page = await console.get("/api/v1/stream/messages", **stream)
    assert (told(page), page["tail"]) == (["1", "2"], written["next_offset"])
    assert await console.ask("POST", "/api/v1/stream/close", stream) == (200, written)
    assert (await console.get("/api/v1/stream/messages", **stream))["closed"]
    assert await console.ask("DELETE", "/api/v1/stream", **stream) == (204, None)
    assert (await console.ask("GET", "/api/v1/stream/messages", **stream))[0] == 404
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "admin.changed" in line]
    assert ["append" in lines[0], "close" in lines[1], "delete" in lines[2]] == [True] * 3
    assert all("shop" in line for line in lines)


async def test_an_operator_sets_limits_of_one_stream_and_takes_them_back(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    await console.create("s", "text/plain", b"x")
    stream = {"route": ROUTE, "name": "s"}
    limits = {"retention_age": 0, "retention_size": 0, "retention_messages": 0, "ttl": 0, "own": []}
    assert (await console.get("/api/v1/stream", **stream))["limits"] == limits
    wish = {"retention_messages": 100, "ttl": 3600}
    status, told = await console.ask("PATCH", "/api/v1/stream", wish, **stream)
    set_here = {**limits, **wish, "own": ["retention_messages", "ttl"]}
    assert (status, told["limits"]) == (200, set_here)
    shown = await console.get("/api/v1/stream", **stream)
    assert (shown["limits"], shown["row"]["name"]) == (set_here, "s")
    assert shown["metadata"]["keeps the last"] == "100 messages, set for this stream"
    assert (await console.ask("PATCH", "/api/v1/stream", dict.fromkeys(wish), **stream))[0] == 200
    assert (await console.get("/api/v1/stream", **stream))["limits"] == limits
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "admin.changed" in line]
    assert ["limit" in line and "shop" in line for line in lines] == [True, True]
    assert ["100" in line and "3600" in line for line in lines] == [True, False]


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        pytest.param(
            {},
            "name a limit to change: retention_age, retention_size, retention_messages, ttl",
            id="nothing",
        ),
        pytest.param({"ttl": -1}, "Expected `int` >= 0 - at `$.ttl`", id="a-negative-number"),
        pytest.param(
            {"retention_age": 315_360_001},
            "Expected `int` <= 315360000 - at `$.retention_age`",
            id="more-than-ten-years",
        ),
        pytest.param(
            {"retention_size": "64MiB"},
            "Expected `int | null`, got `str` - at `$.retention_size`",
            id="a-size-with-a-unit",
        ),
        pytest.param(
            {"retention": 1}, "Object contains unknown field `retention`", id="an-unknown-name"
        ),
    ],
)
async def test_a_limit_that_no_stream_may_have_gets_400_and_a_reason(
    wish: dict[str, object], reason: str, console: Console
) -> None:
    await console.create("s", "text/plain")
    status, problem = await console.ask("PATCH", "/api/v1/stream", wish, route=ROUTE, name="s")
    assert (status, problem["detail"]) == (400, reason)


async def test_a_refused_or_interrupted_change_is_logged_as_failed(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    await console.ask("DELETE", "/api/v1/stream", route=ROUTE, name="none")
    port = free_port()
    settings = setup(listen=Address("127.0.0.1", port), admin_tokens=ADMITTED)
    app = AdminServer(build(Switchboard(), settings))
    async with await asyncio.start_server(hang_up, "127.0.0.1", port), TestClient(app) as client:
        query = {"route": ROUTE, "name": "s"}
        answer = await client.delete("/api/v1/stream", params=query, headers=console.headers)
        assert answer.status == 502
    refused, unknown = (
        line for line in "".join(capsys.readouterr()).splitlines() if "change_failed" in line
    )
    assert ["delete" in line and "shop" in line for line in (refused, unknown)] == [True] * 2
    assert ("404" in refused, "502" in unknown) == (True, True)


async def test_a_refusal_of_the_streams_listener_is_passed_on_with_its_detail(
    console: Console,
) -> None:
    await console.create("s", "application/json")
    body = {"route": ROUTE, "name": "s", "data": "{no json"}
    status, problem = await console.ask("POST", "/api/v1/stream/append", body)
    assert (status, problem["status"]) == (400, 400)
    assert "JSON" in problem["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param("text/plain\r\nX: y", id="a-line-break"),
        "none",
        pytest.param("a/b\0", id="a-nul"),
    ],
)
async def test_appending_with_a_malformed_content_type_gets_400(
    content_type: str, console: Console
) -> None:
    await console.create("s", "text/plain")
    body = {"route": ROUTE, "name": "s", "data": "x", "content_type": content_type}
    status, problem = await console.ask("POST", "/api/v1/stream/append", body)
    assert (status, problem["detail"].split(":")[0]) == (400, "Content-Type is malformed")


async def test_an_api_body_beyond_one_mebibyte_gets_413(console: Console) -> None:
    await console.create("s", "text/plain")
    around = len(json.dumps({"route": ROUTE, "name": "s", "data": ""}))
    statuses = []
    for size in ((1 << 20) - around, (1 << 20) - around + 1):
        body = {"route": ROUTE, "name": "s", "data": "x" * size}
        statuses.append((await console.ask("POST", "/api/v1/stream/append", body))[0])
    assert statuses == [200, 413]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"route": 1, "name": "s"}',
        b'{"name": "s"}',
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        pytest.param(b'{"name": "\xff"}', id="a-name-that-is-no-utf-8"),
        pytest.param(b'{"name": ' * 5000, id="json-nested-too-deeply"),
    ],
)
async def test_a_malformed_api_body_gets_400(body: bytes, console: Console) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{console.admin}/api/v1/stream/close", data=body, headers=console.headers
        ) as answer,
    ):
        assert (answer.status, answer.content_type) == (400, "application/problem+json")


async def test_a_compressed_api_body_gets_415(console: Console) -> None:
    headers = {**console.headers, "Content-Encoding": "deflate"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{console.admin}/api/v1/stream/close", data=b"{}", headers=headers) as answer,
    ):
        assert (answer.status, answer.content_type) == (415, "application/problem+json")


# ---------------------------------------------------------------- events


async def event(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event, its fields by name."""
    fields = {}
    while line := (await answer.content.readline()).decode().removesuffix("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    return fields


async def test_a_live_tail_sends_appended_messages_and_the_end_of_the_stream(
    console: Console,
) -> None:
    await console.create("chat", "application/json", b"1")
    stream = {"route": ROUTE, "name": "chat"}
    async with console.events("/api/v1/stream/events", offset="-1", **stream) as answer:
        assert answer.content_type == "text/event-stream"
        first = await event(answer)
        assert told(json.loads(first["data"])) == ["1"]
        await console.ask("POST", "/api/v1/stream/append", {**stream, "data": "2"})
        news = await event(answer)
        while not told(json.loads(news["data"])):  # a poll that nothing came to
            news = await event(answer)
        assert told(json.loads(news["data"])) == ["2"]
        headers = console.headers | {"Last-Event-ID": first["id"]}
        console.headers = headers
        async with console.events("/api/v1/stream/events", offset="-1", **stream) as again:
            assert (await event(again))["data"] == news["data"]
        await console.ask("POST", "/api/v1/stream/close", stream)
        while "event" not in (last := await event(answer)):
            assert told(json.loads(last["data"])) == []
        assert last == {"event": "closed", "data": "{}"}
        assert await answer.content.read() == b""


async def test_a_live_tail_of_an_unknown_stream_sends_a_problem_event(console: Console) -> None:
    async with console.events("/api/v1/stream/events", route=ROUTE, name="none") as answer:
        told = await event(answer)
    assert told["event"] == "problem"
    detail = {"status": 404, "detail": "there is no stream at this path"}
    assert json.loads(told["data"]) == {"type": "about:blank", **NAMED[404], **detail}


async def test_listeners_of_the_overview_share_the_same_events(console: Console) -> None:
    async with (
        console.events("/api/v1/overview/events") as one,
        console.events("/api/v1/overview/events") as other,
    ):
        # The first ones come at once, and one listener may have begun a moment before.
        told = [[(await event(answer))["data"] for _ in range(3)] for answer in (one, other)]
        assert set(told[0][1:]) & set(told[1][1:])


async def test_a_disconnected_tail_frees_its_place_although_nothing_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "MOST_TAILS", 1)
    async with opened("127.0.0.1", long_poll_timeout=60) as console:
        await console.create("chat", "application/json", b"1")
        tail = {"route": ROUTE, "name": "chat", "offset": "-1"}

        async def is_told() -> bool:
            async with console.events("/api/v1/stream/events", **tail) as answer:
                return "event" not in await event(answer)

        async with console.events("/api/v1/stream/events", **tail) as answer:
            await event(answer)
            async with console.events("/api/v1/stream/events", **tail) as other:
                refused = await event(other)
            assert (refused["event"], json.loads(refused["data"])["status"]) == ("problem", 503)
            # Whoever follows is in nobody's way who looks.
            page = await console.get("/api/v1/stream/messages", route=ROUTE, name="chat")
            assert told(page) == ["1"]
        await until(is_told)


async def test_an_event_stream_beyond_the_limit_of_listeners_gets_503(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 1)
    async with console.events("/api/v1/overview/events") as one:
        await event(one)
        async with console.events("/api/v1/overview/events") as other:
            assert (other.status, other.content_type) == (503, "application/problem+json")


@pytest.mark.usefixtures("processes")
async def test_stopping_the_server_ends_its_event_streams(console: Console) -> None:
    async with console.events("/api/v1/overview/events") as one:
        await event(one)
        await console.gateway.stop()
        await one.content.read()
        assert one.content.at_eof()


# ---------------------------------------------------------------- the description


async def test_the_openapi_document_is_valid_and_names_every_operation(console: Console) -> None:
    # Here, since to import it takes longer than to collect a hundred tests.
    from openapi_spec_validator import validate

    document = await console.get("/api/v1/openapi.json")
    validate(document)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    itself = "/api/v1/openapi.json"
    operations = {it for it in served() if it[1].startswith("/api/")}
    assert described == operations - {("GET", itself), ("HEAD", itself)}


async def test_explain_judges_the_target_as_written_and_refuses_other_urls(
    console: Console,
) -> None:
    await console.create("chat", "text/plain", b"x")
    for url, status, result in (
        (f"{console.streams}/chat?offset=-1#part", 200, "MISS"),
        (f"{ROUTE}/chat?offset=-1", 200, "MISS"),
        (f"/{ROUTE}/chat", 200, "400 bad_request"),  # two slashes: a path, and no host
        ("chat", 400, None),
        ("ftp://host/chat", 400, None),
    ):
        got, told = await console.ask("POST", "/api/v1/explain", {"url": url})
        assert (url, got, told.get("result")) == (url, status, result)


async def test_every_api_response_matches_its_openapi_schema(console: Console) -> None:
    with kept_level():  # a reload sets the level of the settings
        await check_every_response(console)


async def check_every_response(console: Console) -> None:
    from openapi_schema_validator import OAS31Validator

    await console.create("chat", "application/json", b"[1]")
    document = msgspec.to_builtins(openapi.document("1"))
    stream = {"route": ROUTE, "name": "chat"}
    bodies = {
        "/api/v1/stream/append": {**stream, "data": "2"},
        "/api/v1/stream/close": stream,
        "/api/v1/explain": {"url": f"{console.streams}/chat?offset=-1", "headers": [["A", "b"]]},
        "/api/v1/session": {"name": "nobody", "password": "wrong"},
    }
    for operation in OPERATIONS:
        if operation.events or operation.method == "DELETE":
            continue
        query = {}
        if operation.query is not None:
            names = {field.name for field in msgspec.structs.fields(operation.query)}
            query = {key: value for key, value in stream.items() if key in names}
        status, answer = await console.ask(
            operation.method, operation.path, bodies.get(operation.path), **query
        )
        described = document["paths"][operation.path][operation.method.lower()]["responses"]
        kind = described.get(str(status), described["default"])
        (content,) = kind["content"].values()
        OAS31Validator({**content["schema"], "components": document["components"]}).validate(answer)


async def test_an_unknown_query_parameter_of_the_api_gets_400(console: Console) -> None:
    status, problem = await console.ask("GET", "/api/v1/overview", spam="1h")
    assert (status, problem["detail"]) == (400, "the query has 'spam', and may have ['span']")


# ---------------------------------------------------------------- figures


async def test_api_and_page_report_exactly_the_requests_made_to_streams(
    console: Console,
) -> None:
    await console.create("s", "text/plain", b"one")

    async def has_looked() -> bool:
        return (await console.get("/api/v1/overview"))["instance"]["started_at"] is not None

    await until(has_looked)
    async with aiohttp.ClientSession() as readers:
        url = f"{console.streams}/s?offset=-1"
        for _ in range(10):  # a miss, and nine hits
            async with readers.get(url) as answer:
                assert await answer.read() == b"one"
        async with readers.get(f"{url}&live=sse") as events:
            assert events.status == 200

            async def is_told() -> bool:
                told = await console.get("/api/v1/overview")
                counted = (told["without_origin"]["value"], told["readers"])
                return counted == (pytest.approx(10 / 11), {"sse": 1, "long-poll": 0})

            await until(is_told)
            page = await readers.get(f"{console.admin}/", headers=console.headers)
            text = await page.text()
    assert "90.9" in text
    assert "1 SSE" in text
