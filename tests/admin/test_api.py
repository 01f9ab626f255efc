"""The API over a gateway in this process: real listeners, streams in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from headgate_admin import events
from headgate_admin.api import openapi
from headgate_admin.api.openapi import OPERATIONS
from headgate_admin.streams import client
from headgate_gateway.settings import Address
from tests.admin.consoles import ADMITTED, OPERATOR, served, setup
from tests.admin.consoles import console as console_of
from tests.admin.in_process import ROUTE, RunningConsole, running
from tests.support.listener import Listener
from tests.support.log_level import kept_level
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from tests.support.log_lines import Lines

EVENTS, OVERVIEW = "/api/v1/stream/events", "/api/v1/overview/events"
HOSTILE = "%3Cb%3E%22'&%20%E2%80%AE"  # <b>"'& and a mark that turns the text around


@pytest.fixture
async def console() -> AsyncIterator[RunningConsole]:
    async with running(long_poll_timeout=0.2) as console:
        yield console


# ---------------------------------------------------------------- messages


def told(messages: Any) -> list[str]:
    return [message["text"] for message in messages["messages"]]


async def test_json_messages_are_listed_one_by_one_wherever_a_page_ends(
    console: RunningConsole,
) -> None:
    _, last = await console.create("chat", "application/json", b'[{"a": 1},[2]]', b'"three"')
    whole = await console.messages("chat")
    assert told(whole) == ['{"a": 1}', "[2]", '"three"']
    assert (whole["behind"], whole["tail"], whole["closed"]) == (None, last, False)
    assert [message["next_offset"] for message in whole["messages"]] == [None, None, last]
    place: Any = {"offset": "-1", "skip": 0}
    seen = []
    while place is not None:
        page = await console.messages("chat", limit=1, **place)
        seen += told(page)
        place = page["behind"]
    assert seen == told(whole)


async def test_reading_the_latest_messages_ends_at_the_tail(console: RunningConsole) -> None:
    bodies = [json.dumps([f"{n:05d}" * 100] * 100).encode() for n in range(12)]  # 600 kB
    offsets = await console.create("long", "application/json", *bodies)
    page = await console.messages("long", offset="latest", limit=3)
    assert told(page) == [json.dumps("00011" * 100)] * 3
    assert page["tail"] == offsets[-1]
    # What stands before them is found from the same place.
    assert told(await console.messages("long", **page["begin"])) == told(page)


async def test_streams_without_messages_of_bytes_and_of_hostile_text_are_shown_as_they_are(
    console: RunningConsole,
) -> None:
    await console.create("none", "text/plain")
    for offset in ("-1", "latest"):
        page = await console.messages("none", offset=offset)
        assert (page["messages"], page["tail"] is None) == ([], False)
    await console.create("raw", "application/octet-stream", b"\x00\xff<b>")
    (message,) = (await console.messages("raw"))["messages"]
    shown = [message[it] for it in ("size", "text", "data", "truncated")]
    assert shown == [5, None, "AP88Yj4=", False]
    text = "<script>alert(1)</script>\u202e\x01\"'"
    await console.create(HOSTILE, "text/plain", text.encode())
    page = await console.messages(HOSTILE)
    assert told(page) == [text]
    assert await console.messages("<b>\"'& \u202e") == page


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
    name: str, status: int, detail: str, console: RunningConsole
) -> None:
    found = await console.ask("GET", "stream/messages", route=ROUTE, name=name)
    assert (found[0], found[1]["detail"]) == (status, detail)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "localhost"])
async def test_the_console_reaches_streams_on_every_listen_address(host: str) -> None:
    async with running(host=host) as console:
        status, problem = await console.ask("GET", "stream/messages", route=ROUTE, name="none")
    assert (status, problem["detail"]) == (404, "there is no stream at this path")


# ---------------------------------------------------------------- changes


def audited(logged: Lines, event: str) -> list[str]:
    """Return the lines of the audit log with this event; each says who it was."""
    lines = [str(line) for line in logged if line["event"] == event]
    assert all("shop" in line for line in lines)
    return lines


async def test_an_operator_appends_to_closes_and_deletes_a_stream_by_the_api(
    console: RunningConsole, logged: Lines
) -> None:
    await console.create("s", "application/json")
    stream = {"route": ROUTE, "name": "s"}
    status, written = await console.ask("POST", "stream/append", {**stream, "data": "[1,2]"})
    assert status == 200
    page = await console.messages("s")
    assert (told(page), page["tail"]) == (["1", "2"], written["next_offset"])
    assert await console.ask("POST", "stream/close", stream) == (200, written)
    assert (await console.messages("s"))["closed"]
    assert await console.ask("DELETE", "stream", **stream) == (204, None)
    assert (await console.ask("GET", "stream/messages", **stream))[0] == 404
    lines = audited(logged, "admin.changed")
    assert ["append" in lines[0], "close" in lines[1], "delete" in lines[2]] == [True] * 3


async def test_an_operator_sets_limits_of_one_stream_and_takes_them_back(
    console: RunningConsole, logged: Lines
) -> None:
    await console.create("s", "text/plain", b"x")
    stream = {"route": ROUTE, "name": "s"}
    limits = {"retention_age": 0, "retention_size": 0, "retention_messages": 0, "ttl": 0, "own": []}
    assert (await console.get("stream", **stream))["limits"] == limits
    wish = {"retention_messages": 100, "ttl": 3600}
    status, told = await console.ask("PATCH", "stream", wish, **stream)
    set_here = {**limits, **wish, "own": ["retention_messages", "ttl"]}
    assert (status, told["limits"]) == (200, set_here)
    shown = await console.get("stream", **stream)
    assert (shown["limits"], shown["row"]["name"]) == (set_here, "s")
    assert shown["metadata"]["keeps the last"] == "100 messages, set for this stream"
    assert (await console.ask("PATCH", "stream", dict.fromkeys(wish), **stream))[0] == 200
    assert (await console.get("stream", **stream))["limits"] == limits
    lines = audited(logged, "admin.changed")
    assert ["100" in line and "3600" in line for line in lines] == [True, False]


REFUSED: dict[str, tuple[str, str, Any, str]] = {
    "no limit": (
        *("PATCH", "stream", {}),
        "name a limit to change: retention_age, retention_size, retention_messages, ttl",
    ),
    "a negative number": ("PATCH", "stream", {"ttl": -1}, "Expected `int` >= 0 - at `$.ttl`"),
    "more than ten years": (
        *("PATCH", "stream", {"retention_age": 315_360_001}),
        "Expected `int` <= 315360000 - at `$.retention_age`",
    ),
    "a size with a unit": (
        *("PATCH", "stream", {"retention_size": "64MiB"}),
        "Expected `int | null`, got `str` - at `$.retention_size`",
    ),
    "an unknown name": (
        *("PATCH", "stream", {"retention": 1}),
        "Object contains unknown field `retention`",
    ),
    "no JSON": ("POST", "stream/append", {"data": "{no json"}, "JSON"),
    **{
        repr(it): ("POST", "stream/append", {"content_type": it}, "Content-Type is malformed")
        for it in ("text/plain\r\nX: y", "none", "a/b\0")
    },
}


@pytest.mark.parametrize(("method", "path", "wish", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_change_that_a_stream_cannot_have_gets_400_and_a_reason(
    method: str, path: str, wish: dict[str, object], reason: str, console: RunningConsole
) -> None:
    await console.create("s", "application/json")
    stream: dict[str, str] = {"route": ROUTE, "name": "s"}
    if method == "PATCH":
        status, problem = await console.ask(method, path, wish, **stream)
    else:
        status, problem = await console.ask(method, path, {"data": "1", **stream, **wish})
    assert (status, reason in problem["detail"]) == (400, True), problem


async def test_a_refused_or_interrupted_change_is_logged_as_failed(
    console: RunningConsole, logged: Lines
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    await console.ask("DELETE", "stream", route=ROUTE, name="none")
    port = free_port()
    made = setup(listen=Address("127.0.0.1", port), admin_tokens=ADMITTED)
    async with (
        Listener(hang_up, port=port),
        console_of(made=made) as client,
    ):
        assert (await client.api("DELETE", f"stream?route={ROUTE}&name=s"))[0] == 502
    refused, unknown = audited(logged, "admin.change_failed")
    assert ("delete" in refused, "delete" in unknown) == (True, True)
    assert ("404" in refused, "502" in unknown) == (True, True)


async def test_an_api_body_beyond_one_mebibyte_gets_413(console: RunningConsole) -> None:
    await console.create("s", "text/plain")
    around = len(json.dumps({"route": ROUTE, "name": "s", "data": ""}))
    statuses = []
    for size in ((1 << 20) - around, (1 << 20) - around + 1):
        body = {"route": ROUTE, "name": "s", "data": "x" * size}
        statuses.append((await console.ask("POST", "stream/append", body))[0])
    assert statuses == [200, 413]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"{", "identity", 400),
        (b"[]", "identity", 400),
        (b'{"route": 1, "name": "s"}', "identity", 400),
        (b'{"name": "s"}', "identity", 400),
        pytest.param(b"\xff", "identity", 400, id="a-byte-that-is-no-utf-8"),
        pytest.param(b'{"name": "\xff"}', "identity", 400, id="a-name-that-is-no-utf-8"),
        pytest.param(b'{"name": ' * 5000, "identity", 400, id="json-nested-too-deeply"),
        (b"{}", "deflate", 415),
    ],
)
async def test_a_malformed_or_compressed_api_body_is_refused(
    body: bytes, encoding: str, status: int, console: RunningConsole
) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}", "Content-Encoding": encoding}
    url = f"{console.admin}/api/v1/stream/close"
    async with console.http.post(url, data=body, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")


# ---------------------------------------------------------------- events


async def event(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event, its fields by name."""
    fields = {}
    while line := (await answer.content.readline()).decode().removesuffix("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    return fields


async def test_a_live_tail_sends_appended_messages_and_the_end_of_the_stream(
    console: RunningConsole,
) -> None:
    await console.create("chat", "application/json", b"1")
    stream = {"route": ROUTE, "name": "chat"}
    tail = {**stream, "offset": "-1"}
    async with console.open(EVENTS, tail) as answer:
        assert answer.content_type == "text/event-stream"
        first = await event(answer)
        assert told(json.loads(first["data"])) == ["1"]
        await console.ask("POST", "stream/append", {**stream, "data": "2"})
        news = await event(answer)
        while not told(json.loads(news["data"])):  # a poll that nothing came to
            news = await event(answer)
        assert told(json.loads(news["data"])) == ["2"]
        async with console.open(EVENTS, tail, Last_Event_ID=first["id"]) as again:
            assert (await event(again))["data"] == news["data"]
        await console.ask("POST", "stream/close", stream)
        while "event" not in (last := await event(answer)):
            assert told(json.loads(last["data"])) == []
        assert last == {"event": "closed", "data": "{}"}
        assert await answer.content.read() == b""


async def test_the_last_event_id_minus_one_is_the_beginning_of_a_live_tail(
    console: RunningConsole,
) -> None:
    await console.create("chat", "application/json", b"1")
    query = {"route": ROUTE, "name": "chat"}  # the tail, without that field
    async with console.open(EVENTS, query, Last_Event_ID="-1") as answer:
        assert told(json.loads((await event(answer))["data"])) == ["1"]


async def test_a_live_tail_of_an_unknown_stream_sends_a_problem_event(
    console: RunningConsole,
) -> None:
    async with console.open(EVENTS, {"route": ROUTE, "name": "none"}) as answer:
        told = await event(answer)
    assert told["event"] == "problem"
    assert json.loads(told["data"]) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "code": "not_found",
        "detail": "there is no stream at this path",
    }


async def test_listeners_of_the_overview_share_the_same_events(console: RunningConsole) -> None:
    async with (
        console.open(OVERVIEW) as one,
        console.open(OVERVIEW) as other,
    ):
        # The first ones come at once, and one listener may have begun a moment before.
        told = [[(await event(answer))["data"] for _ in range(3)] for answer in (one, other)]
        assert set(told[0][1:]) & set(told[1][1:])


async def test_a_disconnected_tail_frees_its_place_although_nothing_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "MOST_TAILS", 1)
    async with running(long_poll_timeout=60) as console:
        await console.create("chat", "application/json", b"1")
        tail = {"route": ROUTE, "name": "chat", "offset": "-1"}

        async def is_told() -> bool:
            async with console.open(EVENTS, tail) as answer:
                return "event" not in await event(answer)

        async with console.open(EVENTS, tail) as answer:
            await event(answer)
            async with console.open(EVENTS, tail) as other:
                refused = await event(other)
            assert (refused["event"], json.loads(refused["data"])["status"]) == ("problem", 503)
            # Whoever follows is in nobody's way who looks.
            page = await console.messages("chat")
            assert told(page) == ["1"]
        await until(is_told)


async def test_an_event_stream_beyond_the_limit_of_listeners_gets_503(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 1)
    async with console.open(OVERVIEW) as one:
        await event(one)
        async with console.open(OVERVIEW) as other:
            assert (other.status, other.content_type) == (503, "application/problem+json")


@pytest.mark.usefixtures("processes")
async def test_stopping_the_server_ends_its_event_streams(console: RunningConsole) -> None:
    async with console.open(OVERVIEW) as one:
        await event(one)
        await console.gateway.stop()
        await one.content.read()
        assert one.content.at_eof()


# ---------------------------------------------------------------- the description


async def test_the_openapi_document_is_valid_and_names_every_operation(
    console: RunningConsole,
) -> None:
    # Here, since to import it takes longer than to collect a hundred tests.
    from openapi_spec_validator import validate

    document = await console.get("openapi.json")
    validate(document)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    itself = "/api/v1/openapi.json"
    operations = {it for it in served() if it[1].startswith("/api/")}
    assert described == operations - {("GET", itself), ("HEAD", itself)}


async def test_explain_judges_the_target_as_written_and_refuses_other_urls(
    console: RunningConsole,
) -> None:
    await console.create("chat", "text/plain", b"x")
    for url, status, result in (
        (f"{console.streams}/chat?offset=-1#part", 200, "MISS"),
        (f"{ROUTE}/chat?offset=-1", 200, "MISS"),
        (f"/{ROUTE}/chat", 200, "400 bad_request"),  # two slashes: a path, and no host
        ("chat", 400, None),
        ("ftp://host/chat", 400, None),
    ):
        got, told = await console.ask("POST", "explain", {"url": url})
        assert (url, got, told.get("result")) == (url, status, result)


async def test_every_api_response_matches_its_openapi_schema(console: RunningConsole) -> None:
    with kept_level():  # a reload sets the level of the settings
        await check_every_response(console)


async def check_every_response(console: RunningConsole) -> None:
    from openapi_schema_validator import OAS31Validator

    await console.create("chat", "application/json", b"[1]")
    document = msgspec.to_builtins(openapi.document("1"))
    stream = {"route": ROUTE, "name": "chat"}
    bodies = {
        "stream/append": {**stream, "data": "2"},
        "stream/close": stream,
        "explain": {"url": f"{console.streams}/chat?offset=-1", "headers": [["A", "b"]]},
        "session": {"name": "nobody", "password": "wrong"},
    }
    for operation in OPERATIONS:
        if operation.events or operation.method == "DELETE":
            continue
        query = {}
        if operation.query is not None:
            names = {field.name for field in msgspec.structs.fields(operation.query)}
            query = {key: value for key, value in stream.items() if key in names}
        path = operation.path.removeprefix("/api/v1/")
        status, answer = await console.ask(operation.method, path, bodies.get(path), **query)
        described = document["paths"][operation.path][operation.method.lower()]["responses"]
        kind = described.get(str(status), described["default"])
        (content,) = kind["content"].values()
        OAS31Validator({**content["schema"], "components": document["components"]}).validate(answer)


async def test_an_unknown_query_parameter_of_the_api_gets_400(console: RunningConsole) -> None:
    status, problem = await console.ask("GET", "overview", spam="1h")
    assert (status, problem["detail"]) == (400, "the query has 'spam', and may have ['span']")


# ---------------------------------------------------------------- figures


async def test_api_and_page_report_exactly_the_requests_made_to_streams(
    console: RunningConsole,
) -> None:
    await console.create("s", "text/plain", b"one")

    async def has_looked() -> bool:
        return (await console.get("overview"))["instance"]["started_at"] is not None

    await until(has_looked)
    async with aiohttp.ClientSession() as readers:
        url = f"{console.streams}/s?offset=-1"
        for _ in range(10):  # a miss, and nine hits
            async with readers.get(url) as answer:
                assert await answer.read() == b"one"
        async with readers.get(f"{url}&live=sse") as events:
            assert events.status == 200

            async def is_told() -> bool:
                told = await console.get("overview")
                counted = (told["without_origin"]["value"], told["readers"])
                return counted == (pytest.approx(10 / 11), {"sse": 1, "long-poll": 0})

            await until(is_told)
            async with console.open("/") as page:
                text = await page.text()
    assert "90.9" in text
    assert "1 SSE" in text
