"""Searches and exports of messages, by the API and the page, of streams in a real gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from admin import downloads
from admin.downloads import LONGEST_NAME, file_name, serve_file
from admin.errors import NotTold
from admin.streams import scans
from admin.streams.changes import ConsoleRoutes
from admin.streams.client import StreamClient
from admin.streams.scans import MOST_EXPORTS, StreamContents
from gateway.features.console_token import ConsoleToken
from tests.admin.consoles import VIEWER
from tests.admin.test_api import ROUTE, Console, opened
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

MESSAGES = "/api/v1/stream/messages"
EXPORT = "/api/v1/stream/export"


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    async with opened("127.0.0.1") as made:
        yield made


async def find(console: Console, name: str, **query: str | int) -> Any:
    """What a search has found."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            console.admin + MESSAGES,
            params={"route": ROUTE, "name": name, **query},
            headers=console.headers,
        ) as answer,
    ):
        assert answer.status == 200
        return await answer.json()


async def export(console: Console, **query: str) -> tuple[int, bytes, Any]:
    """The status, the body and the headers of an export."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            console.admin + EXPORT, params={"route": ROUTE, **query}, headers=console.headers
        ) as answer,
    ):
        return answer.status, await answer.read(), answer.headers


# ---------------------------------------------------------------- search


async def test_messages_are_found_by_text_and_by_a_value_with_their_offsets(
    console: Console,
) -> None:
    bodies = [json.dumps({"n": n, "word": f"W{n}"}).encode() for n in range(20)]
    offsets = await console.create("chat", "application/json", *bodies)
    found = await find(console, "chat", text="w7")
    (message,) = found["messages"]
    assert (message["text"], message["offset"], message["next_offset"]) == (
        bodies[7].decode(),
        offsets[6],
        offsets[7],
    )
    assert (found["searched"], found["behind"], found["tail"]) == (20, None, offsets[-1])
    found = await find(console, "chat", path="n", value="7")
    assert [it["offset"] for it in found["messages"]] == [offsets[6]]
    from_there = await find(console, "chat", offset=offsets[6], limit=1)
    assert from_there["messages"][0]["text"] == bodies[7].decode()


async def test_a_search_goes_on_where_its_page_ended(console: Console) -> None:
    bodies = [json.dumps([n, "even" if n % 2 == 0 else "odd"]).encode() for n in range(10)]
    await console.create("chat", "application/json", b",".join(bodies).join((b"[", b"]")))
    place: Any = {"offset": "-1", "skip": 0}
    found = []
    while place is not None:
        query = {"text": "even", "limit": 2, **place}
        page = await find(console, "chat", **query)
        found += [json.loads(it["text"])[0] for it in page["messages"]]
        place = page["behind"]
    assert found == [0, 2, 4, 6, 8]


async def test_a_search_looks_at_a_bounded_part_and_says_where_it_ended(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "MOST_SEARCHED_READS", 2)
    bodies = [json.dumps("x" * 200_000).encode() for _ in range(8)] + [b'"needle"']
    offsets = await console.create("long", "application/json", *bodies)
    place: Any = {"offset": "-1", "skip": 0}
    tail = None
    parts = []
    while place is not None:
        page = await find(console, "long", text="needle", **place)
        parts.append((page["searched"], len(page["messages"])))
        place, tail = page["behind"], page["tail"]
    assert [found for _, found in parts] == [0] * (len(parts) - 1) + [1]
    assert len(parts) > 2
    assert sum(searched for searched, _ in parts) == 9
    assert tail == offsets[-1]


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_search_looks_at_a_bounded_number_of_short_messages(
    console: Console, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    monkeypatch.setattr(scans, "MOST_SEARCHED", 10)
    await console.create("short", "application/json", json.dumps([0] * (10 + more)).encode())
    found = await find(console, "short", text="nothing")
    assert found["searched"] == 10 + min(more, 0)
    assert found["behind"] == ({"offset": "-1", "skip": 10} if more > 0 else None)


async def test_a_stream_that_is_no_json_cannot_be_searched(console: Console) -> None:
    await console.create("text", "text/plain", b"words")
    query = {"route": ROUTE, "name": "text", "text": "words"}
    status, problem = await console.ask("GET", MESSAGES, **query)
    assert (status, "only JSON streams" in problem["detail"]) == (400, True)


async def test_times_are_known_where_a_retention_is_set(console: Console) -> None:
    await console.create("timed", "application/json", b"1")
    query = {"route": ROUTE, "name": "timed"}
    status, problem = await console.ask("GET", MESSAGES, **query, since="0")
    assert (status, "knows no times" in problem["detail"]) == (409, True)
    status, stream = await console.ask(
        "PATCH", "/api/v1/stream", {"retention_age": 86_400}, **query
    )
    assert status == 200
    (time,) = stream["times"]
    assert time["offset"] == stream["row"]["tail"]
    page = await find(console, "timed", since=str(time["at"] + 1))
    assert page["messages"] == []
    page = await find(console, "timed", since=str(time["at"] - 1))
    assert [it["text"] for it in page["messages"]] == ["1"]


# ---------------------------------------------------------------- export


async def test_an_export_has_a_message_a_line_whatever_line_ends_it_has_inside(
    console: Console,
) -> None:
    await console.create("a/b", "application/json", b'[{"a":\r\n 1.50}, "two"]', b"3")
    status, body, headers = await export(console, name="a/b")
    assert (status, body) == (200, b'{"a":1.50}\n"two"\n3\n')
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Content-Disposition"] == 'attachment; filename="a_b.ndjson"'
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert (await export(console, name="a/b", text="TWO"))[1] == b'"two"\n'
    assert (await export(console, name="a/b", path="a", value="1.5"))[1] == b'{"a":1.50}\n'
    assert (await export(console, name="a/b", path="b"))[1] == b""


async def test_an_export_of_a_long_stream_has_all_of_it_in_its_order(console: Console) -> None:
    bodies = [json.dumps([f"{n:05d}" * 100] * 100).encode() for n in range(12)]  # 600 kB
    offsets = await console.create("long", "application/json", *bodies)
    expected = [it for body in bodies for it in json.loads(body)]
    lines = (await export(console, name="long"))[1].splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert json.loads((await export(console, name="long", format="raw"))[1]) == expected
    lines = (await export(console, name="long", offset=offsets[10]))[1].splitlines()
    assert [json.loads(line) for line in lines] == expected[-100:]


async def test_an_export_as_it_is_has_the_bytes_of_the_stream(console: Console) -> None:
    await console.create("bytes", "image/png", b"\x00\xff", b"<b>")
    status, body, headers = await export(console, name="bytes", format="raw")
    assert (status, body) == (200, b"\x00\xff<b>")
    assert headers["Content-Type"] == "application/octet-stream"
    await console.create("empty", "application/json")
    assert (await export(console, name="empty", format="raw"))[1] == b"[]\n"
    assert (await export(console, name="empty"))[1] == b""


@pytest.mark.parametrize("reads", [1, 2, 3])
async def test_an_export_ends_with_the_read_that_reaches_its_bound(
    console: Console, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    bodies = [b"x" * (300 << 10)] * 4  # each a read of its own
    await console.create("long", "text/plain", *bodies)
    monkeypatch.setattr(scans, "MOST_EXPORTED_BYTES", (reads - 1) * (300 << 10) + 1)
    assert len((await export(console, name="long", format="raw"))[1]) == reads * (300 << 10)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        pytest.param({"name": "none"}, 404, "no stream", id="no-stream"),
        pytest.param({"name": "text"}, 400, "only JSON streams", id="lines-of-text"),
        pytest.param({"name": "text", "format": "csv"}, 400, "Invalid enum", id="another-format"),
        pytest.param(
            {"name": "text", "format": "raw", "text": "x"}, 400, "needs format=ndjson", id="raw"
        ),
        pytest.param({"name": "chat", "offset": "x"}, 400, "offset is malformed", id="an-offset"),
        pytest.param({"name": "chat", "path": "$..*"}, 400, "path must be", id="a-path"),
        pytest.param({"name": "chat", "route": "/none"}, 404, "no route", id="no-route"),
        pytest.param({"name": "chat", "more": "x"}, 400, "the query has", id="a-parameter"),
    ],
)
async def test_a_refused_export_is_a_problem_and_no_file(
    console: Console, query: dict[str, str], status: int, said: str
) -> None:
    await console.create("text", "text/plain", b"words")
    await console.create("chat", "application/json", b"1")
    found, body, headers = await export(console, **query)
    assert (found, said in json.loads(body)["detail"]) == (status, True), body
    assert "Content-Disposition" not in headers


async def test_a_viewer_may_export_and_others_may_not(console: Console) -> None:
    await console.create("chat", "application/json", b"1")
    console.headers = {"Authorization": f"Bearer {VIEWER}"}
    assert (await export(console, name="chat"))[0] == 200
    console.headers = {"Authorization": f"Bearer {'x' * 32}"}
    assert (await export(console, name="chat"))[0] == 401


async def test_more_exports_than_the_bound_are_refused_until_one_has_ended(
    console: Console,
) -> None:
    await console.create("chat", "application/json", b"1")
    client = StreamClient(console.gateway.settings, ConsoleToken())
    await client.open()
    contents = StreamContents(client, ConsoleRoutes(console.gateway.settings))
    running = [contents.export(ROUTE, "chat", "-1", "ndjson") for _ in range(MOST_EXPORTS)]
    for one in running:
        assert await anext(one) == b"1\n"
    with pytest.raises(NotTold, match="too many exports") as refusal:
        await anext(contents.export(ROUTE, "chat", "-1", "ndjson"))
    assert (refusal.value.status, refusal.value.headers) == (503, {"Retry-After": "5"})
    await running.pop().aclose()
    running.append(contents.export(ROUTE, "chat", "-1", "ndjson"))
    assert await anext(running[-1]) == b"1\n"
    for one in running:
        await one.aclose()
    await client.close()


async def test_clients_that_take_nothing_of_their_exports_hold_up_no_others() -> None:
    async with opened("127.0.0.1", body_timeout=0.2) as console:
        await console.create("long", "text/plain", *[b"x" * (1 << 20)] * 16)
        host, port = console.admin.removeprefix("http://").split(":")
        stalled = []
        for _ in range(MOST_EXPORTS):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
            writer.write(
                f"GET {EXPORT}?route={ROUTE}&name=long&format=raw HTTP/1.1\r\nHost: {host}\r\n"
                f"Authorization: {console.headers['Authorization']}\r\n\r\n".encode()
            )
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            stalled.append(writer)
        await console.create("chat", "application/json", b"1")

        async def is_served() -> bool:
            return (await export(console, name="chat"))[0] == 200

        async with asyncio.timeout(20):
            while not await is_served():
                pass
        for writer in stalled:
            writer.close()


async def test_an_export_that_fails_half_way_is_an_incomplete_response() -> None:
    async def parts() -> AsyncGenerator[bytes]:
        yield b"first\n"
        raise NotTold(502, "the log is away")

    async def handle(request: web.Request) -> web.StreamResponse:
        return await serve_file(request, parts(), "s.ndjson")

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestClient(AdminServer(app)) as client:
        answer = await client.get("/")
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        pytest.param("chat/0001", "chat_0001.ndjson", id="a-path"),
        pytest.param('"; filename="evil.exe', "filename_evil.exe.ndjson", id="quotes"),
        pytest.param("../../etc/passwd", "etc_passwd.ndjson", id="parents"),
        pytest.param("%E2%80%AEgpj.exe\r\nX: y", "E2_80_AEgpj.exe_X_y.ndjson", id="line-ends"),
        pytest.param("漢字", "stream.ndjson", id="nothing-plain"),
        pytest.param("x" * 500, "x" * LONGEST_NAME + ".ndjson", id="long"),
    ],
)
def test_the_name_of_an_exported_file_is_plain(stream: str, name: str) -> None:
    assert file_name(stream, "ndjson") == name
    assert {*downloads.TYPES} == {"ndjson", "raw"}


# ---------------------------------------------------------------- the page


async def page(console: Console, **query: str) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{console.admin}/stream",
            params={"route": ROUTE, "name": "chat", **query},
            headers=console.headers,
        ) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


async def test_a_page_that_skips_an_endless_number_of_messages_skips_none(console: Console) -> None:
    await console.create("chat", "application/json", b'"the first"')
    assert "the first" in await page(console, offset="-1", skip="9" * 5000)


@pytest.mark.usefixtures("processes")
async def test_the_page_searches_without_scripts_and_links_to_what_follows(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "MOST_SEARCHED_READS", 1)
    bodies = [json.dumps({"n": n, "x": "x" * 200_000}).encode() for n in range(3)]
    await console.create("chat", "application/json", *bodies)
    shown = await page(console, path="n", value="2")
    assert "None of the 2 messages up to here fits." in shown
    assert 'id="messages"' not in shown  # which the script would follow
    assert "path=n&amp;value=2" in shown
    shown = await page(console, text='"><script>alert(1)</script>')
    assert "<script>alert" not in shown
    shown = await page(console, path="$..*")
    assert "Path must be names and numbers" in shown
    shown = await page(console, path="n")
    assert "offset=0000" in shown
    assert "format=raw" not in shown
    assert 'id="messages"' in await page(console)
