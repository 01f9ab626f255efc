"""The load tools against a scripted server: they take right answers in any shape, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.bench import tools
from tests.bench.append import RECORD_BYTES, count_records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BODY = b'[{"n":1},{"n":2}]'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.fixture(scope="module", autouse=True)
def built_tools() -> None:
    tools.build()


@contextlib.asynccontextmanager
async def server(
    answer: Callable[[str, str, bytes, asyncio.StreamWriter], bytes], piece: int = 1 << 20
) -> AsyncIterator[int]:
    """The port of a server whose answers are written in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = int(head.partition("Content-Length: ")[2].partition("\r")[0] or 0)
                body = await reader.readexactly(length)
                await write(writer, answer(method, path, body, writer), piece)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def write(writer: asyncio.StreamWriter, data: bytes, piece: int) -> None:
    for start in range(0, len(data), piece):
        writer.write(data[start : start + piece])
        await writer.drain()


def with_length(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length:{len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def in_chunks(body: bytes) -> bytes:
    middle = len(body) // 2
    chunks = b"".join(b"%X;a=b\r\n%s\r\n" % (len(it), it) for it in (body[:middle], body[middle:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: \r\n\r\n"
    return head + chunks + b"0\r\nTrailer: 1\r\n\r\n"


# ---------------------------------------------------------------- load


async def get(answer: bytes, piece: int = 1 << 20) -> tools.Figures:
    with tempfile.NamedTemporaryFile() as file:
        file.write(BODY)
        file.flush()
        async with server(lambda *_: answer, piece) as port:
            load = ("load", "get", port, 2, 50, os.getpid(), file.name, "/doc")
            return await asyncio.to_thread(tools.run, *load)


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize("answer", [with_length(BODY), in_chunks(BODY)], ids=["length", "chunks"])
async def test_reads_are_counted_however_an_answer_is_cut(answer: bytes, piece: int) -> None:
    figures = await get(answer, piece)
    assert figures["requests"] >= 2
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (with_length(BODY[:-1] + b"}"), "a wrong body"),
        (with_length(BODY[:-1]), "16 bytes instead of 17"),
        (with_length(BODY + b" "), "a wrong body"),
        (with_length(b""), "0 bytes instead of 17"),
        (with_length(BODY, "404 Not Found"), "status 404"),
        (with_length(BODY) + b"H", "1 bytes follow an answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[[\r\n",
            "longer than its size",
        ),
        (b"HTTP/1.0 200 OK\r\n", "not a response"),
    ],
)
async def test_a_wrong_answer_to_a_read_ends_the_run(answer: bytes, complaint: str) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await get(answer)


async def post(log: dict[str, bytes], answer: bytes) -> tools.Figures:
    def keep(_: str, path: str, body: bytes, __: asyncio.StreamWriter) -> bytes:
        log[path] = log.get(path, b"") + body
        return answer

    async with server(keep) as port:
        load = ("load", "post", port, 3, 50, os.getpid(), RECORD_BYTES, "/a", "/b")
        return await asyncio.to_thread(tools.run, *load)


async def test_acknowledged_appends_are_the_records_of_the_log() -> None:
    log: dict[str, bytes] = {}
    figures = await post(log, with_length(b"", "204 No Content", "Stream-Next-Offset: 1"))
    assert log.keys() == {"/a", "/b"}
    assert sum(count_records(log[path], path) for path in log) == figures["requests"]


@pytest.mark.parametrize(
    "answer",
    [
        with_length(b"", "204 No Content"),
        with_length(b"", "503 Service Unavailable", "Stream-Next-Offset: 1"),
    ],
    ids=["no next offset", "refused"],
)
async def test_an_append_that_is_not_acknowledged_ends_the_run(answer: bytes) -> None:
    with pytest.raises(tools.ToolFailed, match="an append was answered with"):
        await post({}, answer)


def record(writer: int, number: int) -> bytes:
    return b"%03d %09d" % (writer, number) + b"." * (RECORD_BYTES - 14) + b"\n"


@pytest.mark.parametrize(
    "records",
    [
        [record(0, 0), record(0, 2)],
        [record(0, 0), record(0, 0)],
        [record(0, 1), record(0, 0)],
        [record(0, 0)[:-1]],
        [record(0, 0).replace(b".", b",", 1)],
    ],
    ids=["gap", "twice", "out of order", "cut", "altered"],
)
def test_a_log_that_is_not_what_was_appended_is_noticed(records: list[bytes]) -> None:
    with pytest.raises(tools.ToolFailed, match="belongs"):
        count_records(b"".join(records), "/a")


# ---------------------------------------------------------------- fan-out

EVENTS = 6


class Fanout:
    """A server of events that renders what it is posted as it is told to."""

    def __init__(self, render: Callable[[int, list[bytes]], bytes], head: bytes) -> None:
        self.render = render
        self.head = head
        self.readers: list[asyncio.StreamWriter] = []
        self.events: list[bytes] = []

    def answer(self, method: str, path: str, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if method == "GET":
            self.readers.append(writer)
            return self.head
        self.events.append(body)
        for reader in self.readers:
            reader.write(self.render(len(self.events) - 1, self.events))
        return with_length(b"", "204 No Content")


async def fan_out(
    render: Callable[[int, list[bytes]], bytes], head: bytes = STREAM_HEAD + b"\r\n: hi\n\n"
) -> tools.Figures:
    async with server(Fanout(render, head).answer) as port:
        load = (port, 3, EVENTS, 1000, os.getpid(), "/publish", "/events")
        return await asyncio.to_thread(deliver, "fanout", *load)


def deliver(tool: str, *arguments: object) -> tools.Figures:
    with tools.held(tool, *arguments) as readers:
        return readers.release()


def one_by_one(last: int, events: list[bytes]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (last, events[last])


def with_control(last: int, events: list[bytes]) -> bytes:
    return (
        b"event: data\ndata:[%s]\n\n" % events[last]
        + b'event: control\ndata: {"streamNextOffset":"%d"}\n\n' % last
    )


def joined(last: int, events: list[bytes]) -> bytes:
    """Three at a time, an array over many lines."""
    if last % 3 != 2:
        return b""
    lines = b",\ndata: ".join(events[last - 2 : last + 1])
    return b"event: data\ndata: [\ndata: %s\ndata: ]\n\n" % lines


def in_odd_chunks(last: int, events: list[bytes]) -> bytes:
    data = joined(last, events)
    return b"".join(b"7\r\n%s\r\n" % data[i : i + 7] for i in range(0, len(data) // 7 * 7, 7)) + (
        b"%x\r\n%s\r\n" % (len(data) % 7, data[len(data) // 7 * 7 :]) if len(data) % 7 else b""
    )


CHUNKED_HEAD = STREAM_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("render", [one_by_one, with_control, joined])
async def test_events_are_counted_however_they_are_joined(
    render: Callable[[int, list[bytes]], bytes],
) -> None:
    figures = await fan_out(render)
    assert (figures["readers"], figures["deliveries"]) == (3, 3 * EVENTS)


async def test_events_are_counted_however_they_are_chunked() -> None:
    figures = await fan_out(in_odd_chunks, CHUNKED_HEAD)
    assert figures["deliveries"] == 3 * EVENTS


def doubled(last: int, events: list[bytes]) -> bytes:
    return one_by_one(last, events) * (2 if last == EVENTS - 1 else 1)


def lost(last: int, events: list[bytes]) -> bytes:
    return b"" if last == 2 else one_by_one(last, events)


def swapped(last: int, events: list[bytes]) -> bytes:
    return b"" if last == 0 else one_by_one(last, events) + one_by_one(last - 1, events)


def altered(last: int, events: list[bytes]) -> bytes:
    return one_by_one(last, [event.replace(b"xx", b"xy", 1) for event in events])


def invented(last: int, events: list[bytes]) -> bytes:
    return b"data: [1]\n\n" + one_by_one(last, events)


def torn(last: int, events: list[bytes]) -> bytes:
    return b"data: %s\ndata: %s\n\n" % (events[last][:50], events[last][50:])


@pytest.mark.parametrize(
    ("render", "complaint"),
    [
        (doubled, "event 6 of 6 was expected"),
        (lost, "event 2 of 6 was expected"),
        (swapped, "event 0 of 6 was expected"),
        (altered, "event 0 of 6 was expected"),
        (invented, "stray bytes"),
        (torn, "a line ends within an event"),
    ],
)
async def test_a_wrong_delivery_ends_the_run(
    render: Callable[[int, list[bytes]], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await fan_out(render)


@pytest.mark.parametrize("head", [with_length(b"", "404 Not Found"), with_length(b"hello")])
async def test_a_reader_that_gets_no_event_stream_ends_the_run(head: bytes) -> None:
    with pytest.raises(tools.ToolFailed, match=r"answered with|no event stream"):
        await fan_out(one_by_one, head)


# ---------------------------------------------------------------- long-poll


class Poll:
    """A server of long-polls that answers all waiting at each message, or each other one."""

    def __init__(self, batch: int, twist: Callable[[bytes], bytes]) -> None:
        self.batch = batch
        self.twist = twist
        self.events: list[bytes] = []
        self.waiting: dict[asyncio.StreamWriter, int] = {}

    def news(self, offset: int) -> bytes:
        offset_now, ready = len(self.events), self.events[offset:]
        headers = (f"Stream-Next-Offset: {offset_now}", f"Stream-Cursor: c{offset_now}")
        return self.twist(with_length(b"[%s]" % b",".join(ready), "200 OK", *headers))

    def answer(self, method: str, path: str, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if method == "GET":
            return self.read(path, writer)
        self.events.append(body)
        if len(self.events) % self.batch == 0:
            waiting, self.waiting = self.waiting, {}
            for reader, offset in waiting.items():
                reader.write(self.news(offset))
        return with_length(b"", "204 No Content")

    def read(self, path: str, writer: asyncio.StreamWriter) -> bytes:
        query = dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
        offset = max(0, int(query["offset"]))
        if query.get("live") != "long-poll":
            return with_length(b"[]", "200 OK", "Stream-Next-Offset: 0", "Stream-Cursor: c0")
        assert query["cursor"] == f"c{offset}"
        if offset < len(self.events) and len(self.events) % self.batch == 0:
            return self.news(offset)
        self.waiting[writer] = offset
        return b""


async def poll(batch: int, twist: Callable[[bytes], bytes] = bytes) -> tools.Figures:
    async with server(Poll(batch, twist).answer) as port:
        load = (port, 3, EVENTS, 1000, os.getpid(), "/stream")
        return await asyncio.to_thread(deliver, "longpoll", *load)


@pytest.mark.parametrize("batch", [1, 3])
async def test_pollers_follow_offset_and_cursor(batch: int) -> None:
    figures = await poll(batch)
    assert figures["deliveries"] == 3 * EVENTS
    assert figures["answers_200"] <= 3 * EVENTS // batch


@pytest.mark.parametrize(
    ("twist", "complaint"),
    [
        (lambda answer: answer.replace(b"xx", b"xy", 1), "event 0 of 6 was expected"),
        (lambda answer: answer.replace(b"Stream-Next-Offset", b"X"), "names no next offset"),
        (lambda answer: answer.replace(b"200 OK", b"503 No"), "has status 503"),
    ],
    ids=["altered", "no next offset", "refused"],
)
async def test_a_wrong_answer_to_a_poll_ends_the_run(
    twist: Callable[[bytes], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await poll(1, twist)
