"""Events through Vercel's function come at once and whole, and end before its limit of time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.cdn.test_edge_workers import serving
from tests.cdn.unread import chunk, reading
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.raw_origin import RawOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.event_stream import Event
    from tests.support.processes import Headgate
    from tests.support.raw_origin import Wire

TEXT = "text/plain"
STREAM = "/v1/stream/s?live=sse"
KEEP_ALIVE_S = 0.2
END_S = 1.0
TIMES = {
    '"keepAlive_s": 12': f'"keepAlive_s": {KEEP_ALIVE_S}',
    '"end_s": 240': f'"end_s": {END_S}',
}
EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CONTROL = b'id:7\nevent: control\ndata:{"streamNextOffset":"7"}\n\n'


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[tuple[int, Headgate]]:
    """The port of the function, and the Headgate that it asks."""
    with headgate() as server, serving("vercel", server.port, values=TIMES) as port:
        yield port, server


@pytest.fixture(scope="module")
def scripted(processes: None) -> Iterator[tuple[int, int]]:
    """The port of the function, and the port at which it asks an origin."""
    origin = free_port()
    with serving("vercel", origin, values=TIMES) as port:
        yield port, origin


class Parts:
    """An answer that an origin sends part by part, each when the test says so."""

    def __init__(self, head: bytes) -> None:
        self._wire = head
        self._more = asyncio.Event()
        self.left = asyncio.Event()
        """Set when who asked has closed the connection."""

    def send(self, *parts: bytes) -> None:
        self._wire += b"".join(map(chunk, parts))
        self._more.set()

    async def play(self, wire: Wire) -> None:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(wire))
            await wire.rest()
            self.left.set()
            sending.cancel()

    async def _send(self, wire: Wire) -> None:
        while True:
            new, self._wire = self._wire, b""
            await wire.send(new)
            self._more.clear()
            await self._more.wait()


async def test_sse_through_the_vercel_function_begins_with_a_comment_and_is_not_buffered(
    gateway: tuple[int, Headgate],
) -> None:
    port, server = gateway
    ask(server.port, "PUT", "/v1/stream/begin", b"there", Content_Type=TEXT)
    async with reading(port, "/v1/stream/begin?offset=-1&live=sse") as client:
        head = await client.head()
        assert head.get("content-type") == "text/event-stream"
        assert head.get("access-control-allow-origin") == "*"  # an EventSource needs it
        assert (await client.chunk()).startswith(b":\n")
        await client.events_until(lambda events: any(one.data == "there" for one in events))


async def test_the_vercel_function_sends_keep_alive_comments_only_between_events(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port), reading(port, STREAM) as client:
        await client.head()
        await client.event_bytes_until(b":\n:\n")
        parts.send(b"event: data\nda")
        await client.event_bytes_until(b"da")
        await asyncio.sleep(2 * KEEP_ALIVE_S)  # nothing tells of a comment that does not come
        parts.send(b"ta:whole\n\n" + CONTROL)
        received = await client.event_bytes_until(CONTROL)
    assert received.endswith(b":\nevent: data\ndata:whole\n\n" + CONTROL)


async def test_the_vercel_function_completes_the_current_event_at_its_time_limit(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    loop = asyncio.get_running_loop()
    async with RawOrigin(parts.play, port=origin_port):
        async with reading(port, STREAM) as client:
            began = loop.time()
            await client.head()
            parts.send(CONTROL + b"event: data\ndata:be")
            await client.event_bytes_until(b"data:be")
            await asyncio.sleep(END_S - (loop.time() - began) + KEEP_ALIVE_S)  # its time is over
            parts.send(b"gun\n\n" + CONTROL + b"event: data\ndata:next\n\n")
            events = await client.events_to_the_end()
        await until(parts.left.is_set, "the function to leave the origin")
    assert [one.data for one in events if one.name == "data"] == ["begun"]
    assert client.received.endswith(CONTROL)


async def test_the_vercel_function_cuts_an_event_that_exceeds_the_grace_time(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port):
        async with reading(port, STREAM, Connection="close") as client:
            await client.head()
            parts.send(b"event: data\ndata:never whole")
            rest = await client.rest()
        await until(parts.left.is_set, "the function to leave the origin")
    assert b"never whole" in rest
    assert CONTROL not in rest  # so its reader asks for it again


async def test_the_vercel_function_disconnects_from_its_origin_when_its_reader_leaves(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port):
        async with reading(port, STREAM) as client:
            await client.head()
            parts.send(CONTROL)
            await client.event_bytes_until(CONTROL)
        await until(parts.left.is_set, "the function to leave the origin")


def offset_of(events: list[Event]) -> str:
    """Where the last control event says that its reader goes on."""
    control = next(one for one in reversed(events) if one.name == "control")
    offset: str = json.loads(control.data)["streamNextOffset"]
    return offset


async def test_a_reader_of_many_short_sse_responses_gets_every_message_once(
    gateway: tuple[int, Headgate],
) -> None:
    port, server = gateway
    path, messages = "/v1/stream/many", 60
    ask(server.port, "PUT", path, Content_Type=TEXT)

    async def write() -> None:
        for number in range(messages):
            record = b"%d\n" % number
            await asyncio.to_thread(ask, server.port, "POST", path, record, Content_Type=TEXT)
            await asyncio.sleep(END_S / 15)

    received, answers = "", 0
    resumed: dict[str, str] = {}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        while received.count("\n") < messages:
            # As an EventSource does: the same URL each time, and the id of the last event.
            async with reading(port, f"{path}?offset=-1&live=sse", **resumed) as client:
                await client.head()
                events = await client.events_to_the_end()
            received += "".join(one.data for one in events if one.name == "data")
            resumed = {"Last_Event_ID": offset_of(events)}
            answers += 1
    assert received.split() == [str(number) for number in range(messages)]
    assert answers >= 3
