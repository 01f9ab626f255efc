"""The live readers against a scripted server: they take right events in any shape, no others."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from benchmarks import tools
from tests.benchmarks.scripted import server, with_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw_origin import Wire

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n"


@pytest.fixture(scope="module", autouse=True)
def built_tools(processes: None) -> None:
    tools.build()


# ---------------------------------------------------------------- fan-out

EVENTS = 6


class Fanout:
    """A server of events that renders what it is posted as it is told to."""

    def __init__(self, render: Callable[[int, list[bytes]], bytes]) -> None:
        self.render = render
        self.readers: list[Wire] = []
        self.events: list[bytes] = []

    def answer(self, method: str, path: str, body: bytes, writer: Wire) -> bytes:
        if method == "GET":
            self.readers.append(writer)
            return STREAM_HEAD
        self.events.append(body)
        for reader in self.readers:
            reader.write(self.render(len(self.events) - 1, self.events))
        return with_length(b"", "204 No Content")


async def fan_out(render: Callable[[int, list[bytes]], bytes]) -> tools.Figures:
    async with server(Fanout(render).answer) as origin:
        load = (origin.port, 3, EVENTS, 1000, os.getpid(), origin.port, "/publish", "/events")
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


@pytest.mark.parametrize("render", [one_by_one, with_control, joined])
async def test_bench_readers_count_events_however_they_are_joined(
    render: Callable[[int, list[bytes]], bytes],
) -> None:
    figures = await fan_out(render)
    assert (figures["readers"], figures["deliveries"]) == (3, 3 * EVENTS)


def lost(last: int, events: list[bytes]) -> bytes:
    return b"" if last == 2 else one_by_one(last, events)


def altered(last: int, events: list[bytes]) -> bytes:
    return one_by_one(last, [event.replace(b"xx", b"xy", 1) for event in events])


@pytest.mark.parametrize(
    ("render", "complaint"),
    [
        (lost, "event 2 of 6 was expected"),
        (altered, "event 0 of 6 was expected"),
    ],
)
async def test_a_wrong_event_ends_the_bench_run(
    render: Callable[[int, list[bytes]], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await fan_out(render)


# ---------------------------------------------------------------- long-poll


class Poll:
    """A server of long-polls that answers all waiting at each message, or each other one."""

    def __init__(self, batch: int, twist: Callable[[bytes], bytes]) -> None:
        self.batch = batch
        self.twist = twist
        self.events: list[bytes] = []
        self.waiting: dict[Wire, int] = {}

    def news(self, offset: int) -> bytes:
        offset_now, ready = len(self.events), self.events[offset:]
        headers = (f"Stream-Next-Offset: {offset_now}", f"Stream-Cursor: c{offset_now}")
        return self.twist(with_length(b"[%s]" % b",".join(ready), "200 OK", *headers))

    def answer(self, method: str, path: str, body: bytes, writer: Wire) -> bytes:
        if method == "GET":
            return self.read(path, writer)
        self.events.append(body)
        if len(self.events) % self.batch == 0:
            waiting, self.waiting = self.waiting, {}
            for reader, offset in waiting.items():
                reader.write(self.news(offset))
        return with_length(b"", "204 No Content")

    def read(self, path: str, writer: Wire) -> bytes:
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
    async with server(Poll(batch, twist).answer) as origin:
        load = (origin.port, 3, EVENTS, 1000, os.getpid(), origin.port, "/stream")
        return await asyncio.to_thread(deliver, "longpoll", *load)


@pytest.mark.parametrize("batch", [1, 3])
async def test_bench_pollers_send_the_last_offset_and_cursor(batch: int) -> None:
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
async def test_a_wrong_long_poll_response_ends_the_bench_run(
    twist: Callable[[bytes], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await poll(1, twist)
