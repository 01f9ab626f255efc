"""Clocks that are set, at random and by hand, while a log is served, stopped and served again."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.errors import HeadgateError
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.logs.sqlite.row_readers import ROWS_FOR_EACH
from headgate_gateway.logs.sqlite.writer import NOTE_EVERY_S
from headgate_gateway.process.clock_watch import ClockWatch
from headgate_gateway.protocol.streams.state import ClockReading, ClockRecord, Lifetime
from headgate_gateway.streams.clock import HOUR_S, LEAST_JUMP_S, StreamClock
from tests.streams.service import Service
from tests.support.examples import examples
from tests.support.log_lines import capture_logs
from tests.support.manual_clock import ManualClock

DAY_S = 24 * HOUR_S
FAR = Lifetime(ttl_s=7200)


class Step(NamedTuple):
    """A step of a test: to the stream `name`, or for so many `seconds` of true time."""

    word: str
    name: str = ""
    seconds: float = 0.0
    error: float = 0.0  # of the clock, when it is set


NAMES = st.sampled_from("abc")
WAITS = st.sampled_from([1, 29, 61, 300, 599])
ERRORS = st.sampled_from([0.0, 0.0, 2 * DAY_S, 10 * DAY_S])
STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.just("create"), NAMES, st.sampled_from([30, 90, 1800])),
        st.builds(Step, st.just("create until"), NAMES, st.sampled_from([30, 90, 1800])),
        st.builds(Step, st.just("use"), NAMES),
        st.builds(Step, st.just("pass"), st.just(""), WAITS),
        st.builds(Step, st.just("set"), st.just(""), st.just(0.0), ERRORS),
        st.builds(Step, st.just("restart"), st.just(""), WAITS, ERRORS),
    ),
    min_size=3,
    max_size=25,
)


class World:
    """A file of streams, and a machine whose clock may be ahead.

    The model of a stream is its TTL, if it has one, and until when it must live in true time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.true = ManualClock()
        self.wall = ManualClock()
        self.lives: dict[str, tuple[float, int | None]] = {}
        self.ran = 0.0  # since the start
        self.seen: Counter[str] = Counter()

    async def start(self) -> None:
        self.log = SqliteLog(self.folder)
        await self.log.open()
        self.service = Service(self.log, self.wall, running=self.true)
        self.service.steady.start(self.log.noted_clocks())
        self.ran = 0.0

    async def stop(self) -> None:
        self.service.sweeper.note()
        await self.log.close()

    def turn(self, passed: float, error: float) -> None:
        """Let time pass, and set the clock."""
        self.true.advance(passed)
        self.wall.now = self.true.now + error

    @property
    def error(self) -> float:
        return self.wall.now - self.true.now

    async def play(self, step: Step) -> None:
        match step.word:
            case "create":
                await self._create(step.name, Lifetime(ttl_s=int(step.seconds)))
            case "create until":
                ends = self.true.now + step.seconds
                await self._create(step.name, Lifetime(expires_at=ends, expires_text=f"{ends}"))
            case "use":
                ttl_s = self.lives.get(step.name, (0.0, None))[1]
                if await self.is_present(step.name) and ttl_s is not None:
                    self.lives[step.name] = (self.true.now + ttl_s, ttl_s)
            case "pass":  # for less than a doubt lasts: what a wrong clock ends is there yet
                if self.ran + step.seconds < HOUR_S:
                    self.ran += step.seconds
                    self.turn(step.seconds, self.error)
            case "set":
                self.turn(0.0, step.error)
            case _:
                await self.stop()
                self.turn(step.seconds, step.error)
                await self.start()
        await self.service.sweeper.round()
        await self.check()

    async def _create(self, name: str, lifetime: Lifetime) -> None:
        try:
            created = await self.service.create(name, b"x", lifetime=lifetime)
        except HeadgateError:  # it is there, with another lifetime
            return
        if created.new:
            until = lifetime.expires_at or self.true.now + (lifetime.ttl_s or 0)
            self.lives[name] = (until, lifetime.ttl_s)

    async def is_present(self, name: str) -> bool:
        try:
            await self.service.present(name)
        except HeadgateError:
            return False
        return True

    async def check(self) -> None:
        """Check that no stream goes before its time, and that the right clock shows them all."""
        for name, (until, ttl_s) in list(self.lives.items()):
            state = (await self.log.load(name)).path_state.state
            if state is None:
                assert self.true.now >= until, f"{name} is lost"
                del self.lives[name]
                self.seen["removed"] += 1
            elif self.true.now < until and not self.error:
                active = await self.service.table.load(name)
                assert self.service.table.present(active).path == name
                self.seen["present"] += 1
            elif self.true.now < until and ttl_s is None:
                self.seen["perhaps hidden"] += 1


async def outcome(steps: list[Step]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        await world.start()
        for step in steps:
            await world.play(step)
        await world.stop()
        return world.seen


@settings(max_examples=examples(40))
@given(STEPS)
def test_clock_changes_and_restarts_remove_no_stream_before_its_time(steps: list[Step]) -> None:
    asyncio.run(outcome(steps))


def test_the_clock_model_removes_an_expired_stream_unless_the_clock_is_in_doubt() -> None:
    create = [Step("create", "a", 30), Step("create until", "b", 1800)]
    set_, back = Step("set", error=2 * DAY_S), Step("restart", seconds=1)
    seen = asyncio.run(outcome([*create, set_, back, *[Step("pass", seconds=61)] * 2, back]))
    # The doubt outlasts the play, so nothing is removed; without one it is.
    assert seen["removed"] == 0
    assert seen["present"] > 4
    assert asyncio.run(outcome([*create, *[Step("pass", seconds=61)] * 2]))["removed"] == 1


class Machine:
    """A stream clock on a machine that was just started, with a wall clock that a test sets."""

    def __init__(self, noted: ClockRecord | None = None, now: float = 1_800_000_000.0) -> None:
        self.true, self.wall = ManualClock(now), ManualClock(now)
        self.clock = StreamClock(self.wall, self.true)
        self.clock.start(noted)

    def set(self, seconds: float) -> ClockReading:
        self.wall.advance(seconds)
        return self.clock.look()

    def run(self, seconds: float) -> ClockReading:
        self.true.advance(seconds)
        return self.set(seconds)


@pytest.mark.parametrize(
    ("seconds", "is_doubted"),
    [(HOUR_S, False), (HOUR_S + 1, True), (-HOUR_S - 1, False), (LEAST_JUMP_S, False)],
)
def test_a_clock_is_in_doubt_after_a_jump_over_the_grace(seconds: float, is_doubted: bool) -> None:
    machine = Machine()
    before = machine.clock()
    now = machine.set(seconds)
    assert (now.steady, now.wall) == (before.steady, before.wall + seconds)
    assert (machine.clock.in_doubt_since is not None) is is_doubted


STEPS_OF_CLOCKS: dict[str, tuple[list[float], list[float]]] = {  # steps (s), and those logged
    "small steps": ([0.3] * 4, []),
    "a large step after a small one back": ([-0.5, 1.2], [1.2]),
    "a step back": ([-LEAST_JUMP_S], [-LEAST_JUMP_S]),
}


@pytest.mark.parametrize(("steps", "logged"), STEPS_OF_CLOCKS.values(), ids=STEPS_OF_CLOCKS)
def test_each_large_step_of_the_clock_is_logged_and_small_ones_do_not_add_up(
    steps: list[float], logged: list[float]
) -> None:
    machine = Machine()
    watch = ClockWatch(machine.wall, machine.true)
    with capture_logs() as lines:
        for step in steps:
            machine.set(step)
            list(watch.samples())  # as a scrape looks
    (sample,) = watch.samples()
    of_route = [it["by_s"] for it in lines if "route" in it]
    of_server = [it["by_s"] for it in lines if "route" not in it]
    assert (of_route, of_server, sample.number) == (logged, logged, len(logged))


def test_clock_doubt_ends_after_an_hour_of_running() -> None:
    machine = Machine()
    machine.set(DAY_S)
    machine.run(HOUR_S - 1)
    assert machine.clock.in_doubt_since is not None
    machine.run(1)
    assert machine.clock.in_doubt_since is None


@pytest.mark.parametrize(("stopped", "is_doubted"), [(HOUR_S, False), (HOUR_S + 1, True)])
def test_a_stop_over_the_grace_puts_the_clock_in_doubt(stopped: float, is_doubted: bool) -> None:
    noted = ClockReading(1_700_000_000.0, 1_600_000_000.0)
    machine = Machine(ClockRecord(noted), noted.wall + stopped)
    assert machine.clock() == (noted.wall + stopped, noted.steady + stopped)
    assert (machine.clock.in_doubt_since is not None) is is_doubted
    assert (machine.clock.to_note(machine.clock()) is None) is is_doubted


def test_a_restart_with_the_clock_behind_the_saved_note_adds_no_steady_time() -> None:
    noted = ClockReading(1_700_000_000.0, 1_600_000_000.0)
    machine = Machine(ClockRecord(noted), noted.wall - DAY_S)
    assert machine.clock() == (noted.wall - DAY_S, noted.steady)


def test_a_clock_set_back_undoes_the_time_counted_for_a_doubtful_stop() -> None:
    noted = ClockReading(1_700_000_000.0, 1_600_000_000.0)
    machine = Machine(ClockRecord(noted), noted.wall + 600 + 2 * DAY_S)
    machine.run(60)
    now = machine.set(-2 * DAY_S)
    assert now == (noted.wall + 660, noted.steady + 660)
    # However far it goes back: the time that this process ran has passed.
    assert machine.set(-2 * DAY_S).steady == noted.steady + 60


def test_a_recorded_doubt_continues_after_a_restart() -> None:
    machine = Machine()
    noted = machine.clock.to_note(machine.set(DAY_S))
    assert noted is not None
    assert noted.in_doubt
    again = Machine(noted, noted.moment.wall + 5)
    assert again.clock.in_doubt_since == again.clock()
    assert again.clock().steady == noted.moment.steady + 5


async def test_a_stream_expired_by_a_doubtful_clock_returns_unless_it_was_recreated() -> None:
    wall, true = ManualClock(), ManualClock()
    service = Service(MemoryLog(), wall, running=true)
    ends = Lifetime(expires_at=wall() + 60, expires_text="soon")
    await service.create("kept", b"old", lifetime=ends)
    await service.create("replaced", b"old", lifetime=ends)
    wall.advance(2 * DAY_S)
    await service.sweeper.round()
    assert (await service.create("replaced", b"new", lifetime=FAR)).new
    wall.advance(-2 * DAY_S)
    assert [await service.data(name) for name in ("kept", "replaced")] == [b"old", b"new"]
    assert service.lifecycle.figures == {"created": 3, "expired": 1, "deleted": 0}


async def test_expired_streams_are_removed_when_the_doubt_is_over() -> None:
    wall, true = ManualClock(), ManualClock()
    service = Service(MemoryLog(), wall, running=true)
    ends = Lifetime(expires_at=wall() + 60, expires_text="soon")
    await service.create("s", b"old", lifetime=ends)
    kept = []
    for clocks, passed in (([wall], 2 * DAY_S), ([wall, true], HOUR_S - 1), ([wall, true], 1)):
        for clock in clocks:
            clock.advance(passed)
        await service.sweeper.round()
        kept.append((await service.log.load("s")).path_state.state is not None)
    assert kept == [True, True, False]


async def test_streams_due_by_the_other_clock_do_not_hide_an_expired_one(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    await log.open()
    try:
        service = Service(log)
        now, limit = service.clock(), 3
        for number in range(2 * ROWS_FOR_EACH * limit + 1):
            ends = Lifetime(expires_at=now + 100 + number, expires_text=f"{number}")
            await service.create(f"dated-{number}", lifetime=ends)
        await service.create("idle", lifetime=FAR)
        moment = ClockReading(wall=now, steady=now + 7201)
        found = [list(await log.expired(moment, limit)) for _ in range(6)]
        assert found == [[], [], ["idle"], [], [], ["idle"]]
        assert await log.count_expired(moment) == 1
        assert await log.count_expired(ClockReading(now + 101, now)) == 2
    finally:
        await log.close()


async def test_a_log_records_its_clocks_each_minute_and_when_one_is_set(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    await log.open()
    written = []
    now = ClockReading(1_800_000_000.0, 1_700_000_000.0)
    nearly = now.wall + NOTE_EVERY_S - 1, now.steady + NOTE_EVERY_S - 1
    was_set = ClockReading(nearly[0] + 1, nearly[1])
    try:
        for moment in (now, ClockReading(*nearly), was_set):
            log.note_clocks(ClockRecord(moment))
            await log.reclaim()
            written.append(noted_in(tmp_path))
        log.note_clocks(ClockRecord(now, in_doubt=True))
    finally:
        await log.close()
    (wall, steady), (later, _) = now, was_set
    assert written == [(wall, steady, 0), (wall, steady, 0), (later, nearly[1], 0)]
    assert noted_in(tmp_path) == (wall, steady, 1)


def noted_in(folder: Path) -> tuple[float, float, int]:
    """Return the clocks in the data file: wall and steady time, and whether in doubt."""
    with tempfile.TemporaryDirectory() as beside:  # whoever looks into the WAL may take it away
        copy = shutil.copytree(folder, Path(beside) / "copy")
        with closing(sqlite3.connect(copy / "headgate.db")) as file:
            noted = dict(file.execute("select name, value from meta"))
    times = (noted[f"clock_{name}"] / 10**6 for name in ("wall", "steady"))
    return *times, noted["clock_in_doubt"]


async def test_a_data_file_without_a_clock_uses_its_modification_time(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    await log.open()
    assert log.noted_clocks() is None
    await log.close()
    for file in tmp_path.iterdir():
        os.utime(file, (1_500_000_000, 1_500_000_000))
    await log.open()
    assert log.noted_clocks() == ClockRecord(ClockReading(1_500_000_000.0, 1_500_000_000.0))
    await log.close()
