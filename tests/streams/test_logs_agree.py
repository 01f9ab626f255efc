"""A stream's history is the same on every log: the same operations, told apart by nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.backends.memory import MemoryLog
from gateway.backends.sqlite import SqliteLog
from gateway.errors import HeadgateError
from gateway.protocol import chunks
from gateway.protocol.lifecycle import Created
from gateway.protocol.offsets import NOW, Offset
from gateway.protocol.state import Lifetime, Segment, Stamp, StreamState
from tests.streams.clock import ManualClock
from tests.streams.service import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.backends.base import Log
    from gateway.protocol.appends import Appended

EXAMPLES = 60
STEPS = 40
PATHS = ("a", "b", "c", "d")
MAX_HOT = 3  # fewer than there are paths, so that streams grow cold too
MAX_RETIRED = 2  # likewise for the generations of removed streams
ALL = 1 << 40
replace = msgspec.structs.replace

paths = st.sampled_from(PATHS)
bodies = st.sampled_from([b"", b"x", b"hello", b"7", b"[1, 2,3]", b'{"a": [1]}', b"[]", b"[1"])
types = st.sampled_from([None, "text/plain", "text/plain; charset=utf-8", "application/json"])
positions = st.integers(0, 20)
stamps = st.none() | st.builds(Stamp, st.sampled_from("pq"), st.integers(0, 2), st.integers(0, 3))
sequences = st.none() | st.sampled_from(["1", "10", "9"])


class Write(NamedTuple):
    """One append."""

    path: str
    body: bytes
    content_type: str | None
    producer: Stamp | None
    stream_seq: str | None
    close: bool


writes = st.builds(
    Write, paths, bodies, types, stamps, sequences, st.sampled_from([False, False, False, True])
)


class Side:
    """One log with a process in front of it, and names for the ids that only it knows."""

    def __init__(self, log: Log, clock: ManualClock) -> None:
        self.clock = clock
        self.service = Service(log, clock, max_hot=MAX_HOT)
        self._names: dict[int, int] = {}

    def restart(self, log: Log) -> None:
        """Another process, which knows what is in the log and nothing else."""
        self.service = Service(log, self.clock, max_hot=MAX_HOT)

    def told(self, outcome: object) -> object:
        """An outcome as both logs must tell it."""
        match outcome:
            case HeadgateError():
                return type(outcome), outcome.detail
            case Created():
                return Created(self.named(outcome.state), outcome.new)
            case StreamState():
                return self.named(outcome)
            case _:
                return outcome

    def named(self, state: StreamState) -> StreamState:
        """The state with each stream id replaced by the order of its appearance."""
        fork = state.fork
        return replace(
            state,
            stream_id=self._name(state.stream_id),
            fork=None if fork is None else replace(fork, source_id=self._name(fork.source_id)),
            lineage=tuple(Segment(self._name(one.stream_id), one.end) for one in state.lineage),
        )

    def _name(self, stream_id: int) -> int:
        return self._names.setdefault(stream_id, len(self._names))

    async def settled(self) -> None:
        """What a step left under way, such as a deadline to be written, is done."""
        await self.service.table.commit(())

    async def kept(self) -> list[object]:
        """Everything that is in the log."""
        found: list[object] = []
        for path in PATHS:
            place, producers = msgspec.structs.astuple(await self.service.log.load(path))
            found.append((place.retired, producers))
            if place.state is not None:
                chunk = await self.service.log.read(place.state, 0, ALL)
                found += [self.named(place.state), self.named(chunk.state), chunk.records]
                assert chunk.end == place.state.tail
        return found


class Logs(RuleBasedStateMachine):
    """The same steps on both."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="headgate-test-")
        self.clock = ManualClock()
        self.memory = MemoryLog(MAX_RETIRED)
        self.sqlite = self.new_sqlite()
        self.sides = [Side(self.memory, self.clock), Side(self.sqlite, self.clock)]

    def new_sqlite(self) -> SqliteLog:
        return SqliteLog(Path(self.folder.name), max_retired=MAX_RETIRED)

    @initialize()
    def begin(self) -> None:
        self.runner.run(self.sqlite.open())

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()

    def same(self, act: Callable[[Service], Awaitable[object]]) -> None:
        """Act on both sides, and compare what comes of it."""
        told = [self.runner.run(self._act(side, act)) for side in self.sides]
        assert told[0] == told[1]

    @staticmethod
    async def _act(side: Side, act: Callable[[Service], Awaitable[object]]) -> object:
        try:
            outcome = await act(side.service)
        except HeadgateError as refusal:
            outcome = refusal
        await side.settled()
        told = outcome if isinstance(outcome, list) else [outcome]
        return [side.told(one) for one in told]

    def lifetime(self, ttl_s: int | None, after: float | None) -> Lifetime:
        if after is None:
            return Lifetime(ttl_s=ttl_s)
        return Lifetime(expires_at=self.clock.now + after, expires_text=f"in {after}")

    @rule(
        path=paths,
        body=bodies,
        content_type=types,
        ttl_s=st.none() | st.sampled_from([0, 1, 10, 1000]),
        after=st.none() | st.sampled_from([-1.0, 0.5, 30.0]),
        close=st.booleans(),
    )
    def create(
        self,
        path: str,
        body: bytes,
        content_type: str | None,
        ttl_s: int | None,
        after: float | None,
        close: bool,
    ) -> None:
        lifetime = self.lifetime(ttl_s, after)
        self.same(
            lambda service: service.create(
                path, body, lifetime=lifetime, content_type=content_type, close=close
            )
        )

    @rule(path=paths, content_type=st.sampled_from(["text/plain", "application/json"]))
    def create_plainly(self, path: str, content_type: str) -> None:
        self.same(lambda service: service.create(path, b"[11,22]", content_type=content_type))

    @rule(
        path=paths,
        source=paths,
        body=bodies,
        position=st.none() | positions,
        sub_offset=st.integers(0, 3),
        ttl_s=st.none() | st.sampled_from([1, 10]),
        after=st.none() | st.just(30.0),
    )
    def fork(
        self,
        path: str,
        source: str,
        body: bytes,
        position: int | None,
        sub_offset: int,
        ttl_s: int | None,
        after: float | None,
    ) -> None:
        lifetime = self.lifetime(ttl_s, after)
        self.same(
            lambda service: service.fork(
                path, source, body, position=position, sub_offset=sub_offset, lifetime=lifetime
            )
        )

    @rule(path=paths, source=paths, record=st.integers(0, 3), sub_offset=st.integers(0, 1))
    def fork_between_records(self, path: str, source: str, record: int, sub_offset: int) -> None:
        position = self.runner.run(self._record_end(source, record))
        self.same(
            lambda service: service.fork(path, source, position=position, sub_offset=sub_offset)
        )

    async def _record_end(self, path: str, count: int) -> int:
        """Where the first so many records end; the sides agree on them."""
        state = (await self.memory.load(path)).place.state
        if state is None:
            return 0
        records = (await self.memory.read(state, 0, ALL)).records
        return sum(map(len, records[:count]))

    @rule(group=st.lists(writes, min_size=1, max_size=5))
    def append(self, group: list[Write]) -> None:
        async def act(service: Service) -> list[Appended | HeadgateError]:
            done = [
                service.submit(
                    write.path,
                    write.body,
                    producer=write.producer,
                    stream_seq=write.stream_seq,
                    close=write.close,
                    content_type=write.content_type,
                )
                for write in group
            ]
            return await asyncio.gather(*done)

        self.same(act)

    @rule(path=paths, datas=st.lists(st.sampled_from([b"1", b"[20,300]"]), max_size=4))
    def append_data(self, path: str, datas: list[bytes]) -> None:
        async def act(service: Service) -> list[object]:
            hot = await service.table.load(path)
            kind = None if hot.state is None else hot.state.content_type
            done = [service.submit(path, data, content_type=kind) for data in datas]
            return [*await asyncio.gather(*done)]

        self.same(act)

    @rule(path=paths)
    def close(self, path: str) -> None:
        self.same(lambda service: service.append(path, b"", close=True))

    @rule(path=paths)
    def delete(self, path: str) -> None:
        self.same(lambda service: service.lifecycle.delete(path))

    @rule(path=paths, start=positions | st.none() | st.just(NOW), span=st.integers(1, 20))
    def read(self, path: str, start: int | str | None, span: int) -> None:
        async def act(service: Service) -> list[object]:
            state = await service.present(path)
            offset = Offset(state.generation, start) if isinstance(start, int) else start
            position = chunks.start_position(state, offset)
            if position == state.tail:
                return [state]
            chunk = await service.log.read(state, position, position + span)
            return [state, chunk.state, chunk.start, chunk.end, chunk.records]

        self.same(act)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 12.0, 60.0, 700_000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        async def act(service: Service) -> int:
            before = service.sweeper.expired
            await service.sweeper.round()
            return service.sweeper.expired - before

        self.same(act)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.sqlite.close())
        self.sqlite = self.new_sqlite()
        self.runner.run(self.sqlite.open())
        logs: tuple[Log, Log] = (self.memory, self.sqlite)
        for side, log in zip(self.sides, logs, strict=True):
            side.restart(log)

    @invariant()
    def the_logs_hold_the_same(self) -> None:
        memory, sqlite = [self.runner.run(side.kept()) for side in self.sides]
        assert memory == sqlite


Logs.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
TestLogs = Logs.TestCase
