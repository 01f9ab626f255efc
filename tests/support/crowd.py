"""A crowd of connections in this process, without sockets: what its requests cost is exact.

All send a request in the same pass of the loop, as the clients of a busy server do.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import count
from time import thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.web.connections.connection import Connection
from tests.support.serving import get, post, put, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from tests.support.serving import Serving

WARM_ROUNDS = 30
COUNTED_ROUNDS = (
    5  # of which the least counts: in some, a turn ends or a timer has calls of its own
)


class Appends(NamedTuple):
    """A kind of append: by how many at once to how many streams, and what differs each time."""

    writers: int = 64
    streams: int = 8
    lines: tuple[str, ...] = ()  # with {number} of the append, {writer}, and {turn} of the writer
    content_type: str = "text/plain"
    body: bytes = b"x" * 100


STAMP = ("Producer-Id: {writer}", "Producer-Epoch: 0", "Producer-Seq: {turn}")
TRACE = "traceparent: 00-4bf92f3577b34da6{number:016x}-00f067aa0ba902b7-00"
APPENDS = {
    "in a crowd": Appends(),
    "in a crowd, each its own stream": Appends(streams=64),
    "of JSON": Appends(content_type="application/json", body=b'{"text":"%b"}' % (b"x" * 89)),
    "with X-Request-Id": Appends(lines=("X-Request-Id: {number}",)),
    "with CF-Ray": Appends(lines=("CF-Ray: {number:016x}-FRA",)),
    "with traceparent": Appends(lines=(TRACE,)),
    "of producers": Appends(lines=STAMP),
    "alone": Appends(1, 1),
    "alone, with Stream-Seq": Appends(1, 1, ("Stream-Seq: {number:09d}",)),
    "alone, of a producer": Appends(1, 1, STAMP),
}


class Wire(asyncio.Transport):
    """A transport that takes everything, and remembers the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.last = b""

    def write(self, data: bytes) -> None:  # type: ignore[override] # only of bytes
        self.answers += 1
        self.last = data

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass

    abort = resume_reading = pause_reading = close


class Cost(NamedTuple):
    """What one request costs: Python calls, and microseconds of the thread at best."""

    calls: float
    time_us: float
    by_function: Counter[str]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of the gateway, by function."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith(("headgate_gateway.", "aiohttp.")):
            calls[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


class Crowd:
    """Connections to a gateway that send together."""

    def __init__(self, gateway: Serving, size: int) -> None:
        self.members: list[tuple[Connection, Wire]] = []
        for _ in range(size):
            connection, wire = Connection(gateway.server), Wire()
            connection.connection_made(wire)
            self.members.append((connection, wire))

    async def ask(self, requests: Sequence[bytes]) -> None:
        """Send a request on each connection, and wait for all answers."""
        wanted = [wire.answers + 1 for _, wire in self.members]
        for (connection, _), request in zip(self.members, requests, strict=True):
            connection.data_received(request)
        await self.answered(wanted)

    async def answered(self, wanted: Sequence[int]) -> None:
        """Wait until each connection has had so many answers."""
        while any(
            wire.answers < want for (_, wire), want in zip(self.members, wanted, strict=True)
        ):
            await asyncio.sleep(0)

    def leave(self) -> None:
        """End all connections."""
        for connection, _ in self.members:
            connection.connection_lost(None)

    async def cost(self, requests: Callable[[int], bytes], rounds: int = 60) -> Cost:
        """Return what a request costs, made of the number of requests before it."""
        size = len(self.members)
        made = count()
        for _ in range(WARM_ROUNDS):
            await self.ask([requests(next(made)) for _ in range(size)])
        best = 1.0
        for _ in range(rounds):
            batch = [requests(next(made)) for _ in range(size)]
            began = thread_time()
            await self.ask(batch)
            best = min(best, thread_time() - began)
        counts = []
        for _ in range(COUNTED_ROUNDS):
            batch = [requests(next(made)) for _ in range(size)]
            with counted() as calls:
                await self.ask(batch)
            counts.append(calls)
        calls = min(counts, key=Counter.total)
        return Cost(calls.total() / size, best / size * 1e6, calls)


async def append_cost(appends: Appends, rounds: int = 60) -> Cost:
    """Return what an append of this kind costs a gateway with a log in memory."""

    def sent(number: int) -> bytes:
        turn, writer = divmod(number, appends.writers)
        lines = [line.format(number=number, turn=turn, writer=writer) for line in appends.lines]
        name = f"s{number % appends.streams}"
        return post(name, appends.body, *lines, content_type=appends.content_type)

    async with serving() as gateway:
        for number in range(appends.streams):
            await gateway.ask(put(f"s{number}", content_type=appends.content_type))
        crowd = Crowd(gateway, appends.writers)
        cost = await crowd.cost(sent, rounds)
        assert all(wire.last[9:10] == b"2" for _, wire in crowd.members), crowd.members[0][1].last
        crowd.leave()
        return cost


async def poll_calls(readers: int = 64) -> tuple[Counter[str], Counter[str]]:
    """Return the calls by which equal long-polls park at the tail, and those that answer them.

    The first of them is parsed, and not counted. The calls of the answers include the append.
    """
    parks, answers = [], []
    async with serving() as gateway:
        offset = (await gateway.ask(put("s"))).get("Stream-Next-Offset")
        writer, crowd = Crowd(gateway, 1), Crowd(gateway, readers)
        for turn in range(WARM_ROUNDS + COUNTED_ROUNDS):
            poll = get(f"s?offset={offset}&live=long-poll")
            crowd.members[0][0].data_received(poll)
            with counted() as park:
                for connection, _ in crowd.members[1:]:
                    connection.data_received(poll)
            assert gateway.limits.live_readers == readers, "each is parked at once"
            with counted() as answer:
                await writer.ask([post("s", b"x")])
                await crowd.answered([turn + 1] * readers)
            _, _, rest = writer.members[0][1].last.partition(b"Stream-Next-Offset: ")
            offset = rest.partition(b"\r\n")[0].decode()
            parks.append(park)
            answers.append(answer)
        crowd.leave()
        writer.leave()
    return min(parks, key=Counter.total), min(answers, key=Counter.total)
