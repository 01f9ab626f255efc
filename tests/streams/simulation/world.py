"""A Redis, its gateways, what befalls them, and what must be true all the same."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import msgspec

from headgate_gateway.errors import HeadgateError
from headgate_gateway.logs.redis.names import RedisNames
from headgate_gateway.protocol.lifecycle import present
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Segment, StreamState, raised
from headgate_gateway.streams import outcomes, writes
from tests.streams.simulation.chance import Chance
from tests.streams.simulation.gateway import Gateway
from tests.streams.simulation.redis import Redis
from tests.support.manual_clock import at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

EPOCH = 1_800_000_000.0
WAYS = ["long-poll", "sse", "catch-up"]
NAMES = RedisNames("headgate")


class Plan(NamedTuple):
    """What may happen in a run."""

    loses: bool  # Redis comes back without its last writes
    removes: bool  # streams are deleted, made anew and forked
    retention: int  # bytes that are kept of each stream; 0 for all

    @classmethod
    def drawn(cls, chance: Chance) -> Plan:
        """Any."""
        return cls(chance.one_in(2), chance.one_in(3), chance.choice((40, 150)) * chance.one_in(4))


class World:
    """One run. `faults` tells what should not have been."""

    def __init__(self, seed: int) -> None:
        self.chance = Chance(seed)
        self.plan = Plan.drawn(self.chance)
        self.redis = Redis(self.chance, self.server_clock)
        self.skew_s = 0.0
        self.gateways: list[Gateway] = []
        self.paths = ["a", "b"] if self.chance.one_in(2) else ["a"]
        self.ways = self.chance.choice((["long-poll"], ["sse"], ["catch-up"], WAYS))
        self.faults: list[str] = []
        self.diary: list[str] = []
        self.is_quiet = False  # nothing befalls anybody any more
        self.losses = 0
        self._contents: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._acknowledged: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"{self.plan} with {len(self.gateways)} gateways"

    def clock(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def server_clock(self) -> float:
        return self.clock() + self.skew_s

    def note(self, what: str) -> None:
        """For whoever wants to know how it came to a fault."""
        self.diary.append(f"{asyncio.get_running_loop().time():9.4f} {what}")

    def fault(self, what: str) -> None:
        self.note(f"FAULT {what}")
        self.faults.append(what)

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What nobody has caught."""
        self.fault(f"{context.get('message')}: {context.get('exception')!r}")

    async def start(self) -> None:
        for _ in range(self.chance.choice((1, 2, 2, 3))):
            gateway = Gateway(self.redis, self.clock, self.plan.retention)
            self.gateways.append(gateway)
            await gateway.start()

    async def stop(self) -> None:
        for gateway in self.gateways:
            for pipe in list(gateway.pipes):
                pipe.abort()
        await asyncio.sleep(30)
        for number, gateway in enumerate(self.gateways):
            for leftover in gateway.leftovers():
                self.fault(f"gateway {number}: {leftover}")
            await gateway.stop()

    def calm(self) -> None:
        """Nothing befalls anybody any more."""
        self.is_quiet = True
        self.redis.dies_of, self.redis.tears = None, False
        self.chance.haste = 0.1

    # What is so

    def state(self, path: str) -> StreamState | None:
        """What stands in Redis."""
        encoded = self.redis.keys.get(NAMES.meta(path).encode(), {}).get(b"s")
        return msgspec.json.decode(encoded, type=StreamState) if encoded else None

    @property
    def listed(self) -> Collection[bytes]:
        """The list of paths in Redis."""
        listed: Mapping[bytes, float] = self.redis.keys.get(NAMES.paths.encode(), {})
        return listed

    def content(self, path: str) -> bytes:
        """All that is kept of a stream."""
        state = self.state(path)
        if state is None:
            return b""
        content, position = b"", 0
        for segment in (*state.lineage, Segment(state.stream_id, state.tail, state.path)):
            for start, data in self.redis.records(NAMES.records(segment.path).encode()):
                if position <= start < segment.end:
                    content += data
            position = segment.end
        return content

    def life(self, path: str) -> tuple[int, bool, int] | None:
        """Which stream is there for readers, if any; what a loss brings back is another one."""
        state = self.state(path)
        brought_back = self.losses if self.plan.retention or self.plan.removes else 0
        return None if state is None else (state.stream_id, state.soft_deleted, brought_back)

    def refuses(self, path: str, offset: str) -> bool:
        """Whether a reader who comes with an offset has to be told that it leads nowhere."""
        state = self.state(path)
        try:
            there = raised(present(state, at(self.clock())), self.redis.history or 0)
            chunks.start_position(there, None if offset == "-1" else parse_offset(offset, "offset"))
        except HeadgateError:
            return True
        return False

    # What was told

    def saw(self, path: str, offset: str, content: bytes, who: str) -> None:
        """Somebody who had read this much was told to go on at `offset`."""
        known, teller = self._contents.setdefault((path, offset), (content, who))
        same = known == content
        if self.plan.retention:  # who came late has read less
            same = known.endswith(content) or content.endswith(known)
        if not same:
            self.fault(f"{path}: {offset} is after {content!r} for {who}, {known!r} for {teller}")
        message = self._acknowledged.get((path, offset))
        if message is not None and content and not content.endswith(message):
            self.fault(f"{path}: {offset} is after {content!r} for {who}, but for {message!r}")

    def acknowledged(self, path: str, offset: str, message: bytes) -> None:
        """A writer was told that its message ends at `offset`."""
        known = self._acknowledged.setdefault((path, offset), message)
        if known != message:
            self.fault(f"{path}: {offset} is told of {known!r} and of {message!r}")

    # What happens

    async def befall(self) -> None:
        """One misfortune after the other."""
        misfortunes: list[Callable[[], None]] = [
            self._cut,
            self._cut,
            self._stall,
            self._leave,
            self._hold,
            self._restart,
            self._doom,
            self._doom,
        ]
        if not self.plan.loses:  # where it comes back with the same file
            misfortunes += [self._tear, self._tear]
        often = self.chance.choice((0.1, 0.5, 1.5))
        while not self.is_quiet:
            await asyncio.sleep(self.chance.uniform(0, often))
            self.chance.choice(misfortunes)()

    def _cut(self) -> None:
        for link in list(self.redis.links):
            if self.chance.one_in(3):
                link.cut()

    def _stall(self) -> None:
        for link in list(self.redis.links):
            if self.chance.one_in(4):
                link.stall(self.chance.uniform(0, 5))

    def _leave(self) -> None:
        for gateway in self.gateways:
            for pipe in list(gateway.pipes):
                if self.chance.one_in(8):
                    pipe.abort()

    def _hold(self) -> None:
        for gateway in self.gateways:
            for pipe in list(gateway.pipes):
                if self.chance.one_in(4):
                    pipe.hold()
                    asyncio.get_running_loop().call_later(self.chance.uniform(0, 3), pipe.let_go)

    def _doom(self) -> None:
        """Redis carries the next commit out, and nobody is told of it by this process."""
        self.redis.dies_of, self.redis.tears = self._restart, False

    def _tear(self) -> None:
        """Redis dies in the midst of writing the next commit to its file."""
        self.redis.dies_of, self.redis.tears = self._restart, True

    def _restart(self) -> None:
        if not self.redis.is_up:
            return
        self.redis.dies_of, self.redis.tears = None, False
        self.redis.kill()
        back = 0
        if self.chance.one_in(2):
            back = self.chance.choice((0, 1, 1, 2, 3, 5, 20)) if self.plan.loses else 0
            self.skew_s = self.chance.choice((0.0, 0.0, -3.0, 3.0))
        self.note(f"Redis is killed, and loses {back} writes")
        if back:
            self.losses += 1
            self.redis.put_back(back)
        down = self.chance.choice((0.0, 0.05, 0.5, 2.0)) * self.chance.random()
        asyncio.get_running_loop().call_later(down, self._up)

    def _up(self) -> None:
        self.redis.start()
        self.note(f"Redis is back as {self.redis.process.decode()}")


@contextlib.contextmanager
def virtual_durations() -> Iterator[None]:
    """Measure how long writes wait by the virtual clock, since a late one may be refused."""
    with (
        patch.object(outcomes, "perf_counter", _virtual_time),
        patch.object(writes, "perf_counter", _virtual_time),
    ):
        yield


def _virtual_time() -> float:
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def small_chunks(size: int = 64) -> Iterator[None]:
    """As if what is read at once, and kept for long, were only this long."""
    before, chunks.CHUNK_BYTES = chunks.CHUNK_BYTES, size
    try:
        yield
    finally:
        chunks.CHUNK_BYTES = before
