"""A stream's history is the same on every log: the same random steps, told apart by nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.errors import HeadgateError
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.lifecycle import CreationOutcome
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import NOW, Offset
from headgate_gateway.protocol.streams.state import Lifetime, Segment, Stamp, StreamState
from tests.streams.service import Service
from tests.support.examples import IS_WHOLE
from tests.support.manual_clock import PAST, ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

    Act = Callable[[Service], Awaitable[object]]

SEED = int(os.environ.get("AGREE_SEED", "5"))
SEEDS = 100 if IS_WHOLE else 2
STEPS = 200
PATHS = ("a", "b", "c", "d", "e")
ALL = 1 << 40
TYPES = ("text/plain", "application/json")
TEXTS = (b"x", b"hello", b"two\nlines")
JSONS = (b"7", b'[1, 2,"3"]', b'{"a": [1]}')
WRONG = (b"", b"[]", b"[1")
HAPPENINGS = (
    "AppendOutcome",
    "BadRequest",
    "ConfigurationConflict",
    "ContentTypeMismatch",
    "CreationOutcome",
    "ProducerFenced",
    "SequenceGap",
    "SequenceRegression",
    "StreamClosed",
    "StreamGone",
    "StreamNotFound",
    "expired",
    "forks of forks",
    "later generations",
    "references",
    "soft-deleted",
)
replace = msgspec.structs.replace


class Side:
    """One log with a process in front of it, and names for the ids that only it knows."""

    def __init__(self, log: Log, clock: ManualClock) -> None:
        self.clock = clock
        self.service = Service(log, clock)
        self._names: dict[int, int] = {}

    def restart(self, log: Log) -> None:
        """Another process, which knows what is in the log and nothing else."""
        self.service = Service(log, self.clock)

    async def act(self, act: Act) -> list[object]:
        """What comes of it, as both sides must tell it."""
        try:
            outcome = await act(self.service)
        except HeadgateError as refusal:
            outcome = refusal
        await self.service.table.commits.commit(())  # what is still under way, a deadline, is done
        return [self._told(one) for one in (outcome if isinstance(outcome, list) else [outcome])]

    def _told(self, outcome: object) -> object:
        match outcome:
            case HeadgateError():
                return type(outcome).__name__, outcome.detail
            case CreationOutcome():
                return CreationOutcome(self._named(outcome.state), outcome.new)
            case StreamState():
                return self._named(outcome)
            case _:
                return outcome

    def _named(self, state: StreamState) -> StreamState:
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

    async def kept(self) -> list[object]:
        """Everything that is in the log."""
        found: list[object] = []
        for path in PATHS:
            loaded = await self.service.log.load(path)
            state = loaded.path_state.state
            found.append((path, loaded.path_state.retired, loaded.producers))
            if state is not None:
                chunk = await self.service.log.read(state, 0, ALL)
                assert chunk.end == state.tail
                found += [self._named(state), self._named(chunk.state), chunk.records]
        return found


class Play:
    """Random steps on both sides; most of them make sense, so that streams live for a while."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.clock = ManualClock(PAST)
        self.memory = MemoryLog()
        self.sqlite = SqliteLog(folder)
        self.sides = [Side(self.memory, self.clock), Side(self.sqlite, self.clock)]
        self.transcript = [f"seed {seed}"]
        self.seen: Counter[str] = Counter()
        self._known: dict[str, StreamState] = {}
        self._numbers: Counter[str] = Counter()

    async def step(self) -> None:
        """One step, its outcome compared, and then everything that is kept."""
        steps: dict[Callable[[], Awaitable[None]], int] = {
            self.create: 8,
            self.fork: 12,
            self.append: 20,
            self.append_as_producer: 16,
            self.close: 2,
            self.delete: 4,
            self.read: 12,
            self.wait: 6,
            self.sweep: 4,
            self.restart: 3,
        }
        (chosen,) = self.chance.choices(list(steps), list(steps.values()))
        await chosen()
        memory, sqlite = [await side.kept() for side in self.sides]
        assert memory == sqlite, self.story()
        self._known = {one.path: one for one in memory if isinstance(one, StreamState)}
        for state in self._known.values():
            self.seen["references"] += bool(state.references)
            self.seen["soft-deleted"] += state.soft_deleted
            self.seen["later generations"] += bool(state.generation)
            self.seen["forks of forks"] += len(state.lineage) > 1

    async def both(self, what: str, act: Act) -> None:
        """Act on both sides, and compare what comes of it."""
        self.transcript.append(what)
        memory, sqlite = [await side.act(act) for side in self.sides]
        assert memory == sqlite, self.story()
        for outcome in memory:
            kind = outcome[0] if isinstance(outcome, tuple) else type(outcome).__name__
            self.seen[str(kind)] += 1

    def story(self) -> str:
        return "\n".join(self.transcript)

    def path(self) -> str:
        """A path, mostly of a stream that is there."""
        alive = [path for path, state in self._known.items() if not state.soft_deleted]
        return self.chance.choice(alive if alive and self.chance.random() < 0.9 else PATHS)

    def content_type(self, path: str) -> str | None:
        """Mostly the stream's own."""
        kind = self._known[path].content_type if path in self._known else TYPES[0]
        return kind if self.chance.random() < 0.95 else self.chance.choice([None, *TYPES])

    def body(self, content_type: str | None) -> bytes:
        if self.chance.random() < 0.1:
            return self.chance.choice(WRONG)
        return self.chance.choice(JSONS if content_type == TYPES[1] else TEXTS)

    def lifetime(self) -> Lifetime:
        match self.chance.randrange(10):
            case 0:
                after = self.chance.choice([-1.0, 0.5, 30.0])
                return Lifetime(expires_at=self.clock.now + after, expires_text=f"in {after}")
            case 1 | 2:
                return Lifetime(ttl_s=self.chance.choice([0, 1, 10, 1000]))
            case _:
                return Lifetime()

    # Steps

    async def create(self) -> None:
        path = self.chance.choice(PATHS)
        known = self._known.get(path)
        kind = self.chance.choice([None, *TYPES])
        lifetime, close = self.lifetime(), self.chance.random() < 0.1
        if known is not None and self.chance.random() < 0.3:  # once more, the same
            kind, lifetime, close = known.content_type, known.lifetime, known.closed
        body = self.body(kind)
        await self.both(
            f"create {path} {kind} {body!r} {lifetime} close={close}",
            lambda service: service.create(
                path, body, lifetime=lifetime, content_type=kind, close=close
            ),
        )

    async def fork(self) -> None:
        path, source = self.chance.choice(PATHS), self.path()
        position = self.chance.choice([None, await self._record_end(source)])
        if self.chance.random() < 0.1:
            position = self.chance.randint(0, 30)
        sub_offset = self.chance.choice([0, 0, 1, 2]) if position is not None else 0
        lifetime = self.lifetime()
        known = self._known.get(path)
        if known is not None and known.fork is not None and self.chance.random() < 0.5:
            source, position = known.fork.source_path, known.fork.position  # once more, the same
            sub_offset, lifetime = known.fork.sub_offset, known.lifetime
        body = self.chance.choice([b"", b"", b"7"])
        await self.both(
            f"fork {path} of {source} at {position}+{sub_offset} {body!r} {lifetime}",
            lambda service: service.fork(
                path, source, body, position=position, sub_offset=sub_offset, lifetime=lifetime
            ),
        )

    async def _record_end(self, path: str) -> int:
        """Where one of the stream's records ends; the sides agree on them."""
        state = (await self.memory.load(path)).path_state.state
        if state is None:
            return 0
        records = (await self.memory.read(state, 0, ALL)).records
        return sum(map(len, records[: self.chance.randint(0, len(records))]))

    async def append(self) -> None:
        """A few appends at once, to one stream or to several."""
        group = []
        for _ in range(self.chance.randint(1, 4)):
            path = self.path()
            kind = self.content_type(path)
            self._numbers[path] += 1
            number = self._numbers[path] - self.chance.choice([0, 0, 2])
            seq = f"{number:04d}" if self.chance.random() < 0.5 else None
            group.append((path, self.body(kind), kind, seq))

        async def act(service: Service) -> list[object]:
            done = [
                service.submit(path, body, content_type=kind, stream_seq=seq)
                for path, body, kind, seq in group
            ]
            return [*await asyncio.gather(*done)]

        await self.both(f"append {group}", act)

    async def append_as_producer(self) -> None:
        path = self.path()
        kind = self.content_type(path)
        body = self.body(kind)
        name = self.chance.choice("pq")
        known = (await self.memory.load(path)).producers.get(name)
        epoch, seq = (known.epoch, known.seq + 1) if known is not None else (0, 0)
        match self.chance.randrange(10):
            case 0 | 1:
                epoch, seq = epoch + 1, self.chance.choice([0, 0, 1])
            case 2:
                seq = max(0, seq - 1)
            case 3:
                seq += 1
            case 4 | 5:
                epoch = max(0, epoch - 1)
            case _:
                pass
        stamp, close = Stamp(name, epoch, seq), self.chance.random() < 0.1

        async def act(service: Service) -> list[object]:
            return [
                await service.submit(path, body, producer=stamp, close=close, content_type=kind)
            ]

        await self.both(f"append {path} {body!r} {kind} {stamp} close={close}", act)

    async def close(self) -> None:
        path = self.path()
        await self.both(f"close {path}", lambda service: service.append(path, b"", close=True))

    async def delete(self) -> None:
        path = self.path()
        await self.both(f"delete {path}", lambda service: service.lifecycle.delete(path))

    async def read(self) -> None:
        path, span = self.path(), self.chance.randint(1, 30)
        start = self.chance.choice([None, NOW, await self._record_end(path)])
        if self.chance.random() < 0.2:
            start = self.chance.randint(0, 30)
        back = self.chance.choice([0, 0, 0, 1])

        async def act(service: Service) -> list[object]:
            state = await service.present(path)
            await service.table.commits.commit(
                ()
            )  # its deadline may have been on its way to the log
            generation = max(0, state.generation - back)
            offset = Offset(generation, start) if isinstance(start, int) else start
            position = chunks.start_position(state, offset)
            if position == state.tail:
                return [state]
            chunk = await service.log.read(state, position, position + span)
            return [state, chunk.state, chunk.start, chunk.end, chunk.records]

        await self.both(f"read {path} from {start}, {back} generations back", act)

    async def wait(self) -> None:
        seconds = self.chance.choice([0.25, 0.5, 1.0, 2.0, 12.0, 60.0, 700_000.0])
        self.transcript.append(f"wait {seconds}")
        self.clock.advance(seconds)

    async def sweep(self) -> None:
        async def act(service: Service) -> int:
            before = service.sweeper.expired
            await service.sweeper.round()
            self.seen["expired"] += service.sweeper.expired - before
            return service.sweeper.expired - before

        await self.both("sweep", act)

    async def restart(self) -> None:
        self.transcript.append("restart")
        await self.sqlite.close()
        self.sqlite = SqliteLog(self.folder)
        await self.sqlite.open()
        logs: tuple[Log, Log] = (self.memory, self.sqlite)
        for side, log in zip(self.sides, logs, strict=True):
            side.restart(log)


@contextlib.asynccontextmanager
async def playing(folder: Path, seed: int) -> AsyncIterator[Play]:
    play = Play(folder, seed)
    await play.sqlite.open()
    try:
        yield play
    finally:
        await play.sqlite.close()


@pytest.mark.timeout(60 + 10 * SEEDS)
async def test_memory_and_sqlite_logs_agree_on_any_history_of_a_stream(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(SEED, SEED + SEEDS):
        async with playing(tmp_path / str(seed), seed) as play:
            for _ in range(STEPS):
                await play.step()
            seen += play.seen
    # Plays in which nothing happens would agree too.
    assert {kind for kind in HAPPENINGS if not seen[kind]} == set()
