"""Many runs at once, whose producers are killed and whose readers are cut at random moments.

Whatever is killed and cut, readers of a run have the same lines, with its numbers
in order and an end. Then a second process takes over all runs of a first, the streams of runs are
deleted under their readers, and runs are stopped from another replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.names import stream_url
from headgate.runs import Runs, RunState
from headgate.stream_requests import StreamRequests

from tests.support.origin_servers import reference
from tests.support.processes import ROOT, headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from headgate.runs import Answer

PATIENCE_S = 60.0
STATES = 21  # asked for one after the other
READERS = 2  # of each run; the first is never cut
ENDLESS = 10**9
LONGEST_LIFE_S = 2.0  # of a process that is killed
ITEMS_AT_ONCE = 200  # of the source of a long run, until others have a turn
ITEMS = 5  # of a run that is not


@dataclass(frozen=True, slots=True)
class Size:
    """How much is played."""

    runs: int  # at once
    processes: int  # that produce them, an equal share each
    kills: int  # as many of each process
    cuts: int  # as many for each kill
    long: int  # items of a long run
    orphan_after: int  # seconds: as many runs as there are, so many heartbeats there are in a third


SHORT = Size(runs=10, processes=2, kills=2, cuts=10, long=2_000, orphan_after=2)


@dataclass(slots=True)
class Found:
    """What the campaign saw."""

    ends: dict[str, int] = field(default_factory=dict)
    cuts: int = 0
    kills: int = 0
    lost: int = 0  # readers who were told that their run was gone
    stops_s: list[float] = field(default_factory=list)
    states_s: list[float] = field(default_factory=list)


class Reader:
    """Reads a run to its end, and goes on after the items it has whenever it is cut."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self._id = run_id
        self.lines: list[bytes] = []
        self._part = b""
        self._answer: Answer | None = None
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Read to the end."""
        while True:
            self._part = b""
            answer = await self._runs.follow(self._id, len(self.lines))
            if answer is None:
                return None
            self._reading = asyncio.create_task(self._take(answer))
            await asyncio.wait({self._reading})
            if not self._reading.cancelled():
                return self._reading.result()

    @property
    def is_reading(self) -> bool:
        """Whether there is a connection."""
        return self._reading is not None and not self._reading.done()

    def cut(self) -> bool:
        """Cut the connection; False when there is none."""
        return self._reading is not None and self._reading.cancel()

    async def _take(self, answer: Answer) -> None:
        async with contextlib.aclosing(answer.body):
            async for piece in answer.body:
                *lines, self._part = (self._part + piece).split(b"\n")
                self.lines += [line[6:] for line in lines if line.startswith(b"data: ")]


@contextlib.asynccontextmanager
async def producer(url: str, size: Size, run_ids: Sequence[str], items: int) -> AsyncIterator[None]:
    """A process that has started these runs; it is killed (SIGKILL) as the block ends."""
    # Together the runs have 100 items a second, however many they are.
    numbers = (size.orphan_after, items, len(run_ids) / 100)
    command = ["-m", "tests.client.runs.producer", url, *map(str, numbers)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{run_id}\n" for run_id in run_ids).encode())
        for _ in run_ids:
            assert await process.stdout.readline(), "the producer ended"
        yield
    finally:
        process.kill()
        await process.wait()


async def check_ends(runs: Runs, size: Size, found: Found, url: str) -> None:
    """Have processes produce runs, each of which is killed, and then the next one."""
    async with asyncio.TaskGroup() as group:
        for number in range(size.processes):
            group.create_task(check_kills(runs, size, found, url, number))


async def check_kills(runs: Runs, size: Size, found: Found, url: str, process: int) -> None:
    """Kill one process at a random moment, and cut readers of its runs meanwhile; then again."""
    for kill in range(size.kills // size.processes):
        share = range(size.runs // size.processes)
        run_ids = [f"killed/{process}/{kill}/{number}" for number in share]
        readers = [Reader(runs, run_id) for run_id in run_ids for _ in range(READERS)]
        async with producer(url, size, run_ids, ENDLESS):
            reading = [asyncio.create_task(reader.read()) for reader in readers]
            await until(lambda: all(reader.is_reading for reader in readers))  # noqa: B023
            life_s = random.uniform(0, LONGEST_LIFE_S)
            cutting = asyncio.create_task(cut(readers[1::READERS], size, life_s, found))
            await asyncio.sleep(life_s)
        found.kills += 1
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(cutting, *reading)
        for number in range(0, len(readers), READERS):
            check_same(readers[number : number + READERS], found)


async def cut(readers: Sequence[Reader], size: Size, life_s: float, found: Found) -> None:
    """Cut random readers, each kill's share of all cuts.

    The last ones are cut when the process is gone already, but its runs are not orphaned yet.
    """
    count = size.cuts // size.kills
    moments = sorted(random.uniform(0, life_s + size.orphan_after / 3) for _ in range(count))
    before = 0.0
    for moment in moments:
        await asyncio.sleep(moment - before)
        before = moment
        await until(lambda: any(reader.is_reading for reader in readers))
        found.cuts += random.choice([reader for reader in readers if reader.is_reading]).cut()


def check_same(readers: Sequence[Reader], found: Found) -> None:
    """All readers of one run have the same lines: numbers in order, and an end."""
    lines = readers[0].lines
    for reader in readers[1:]:
        assert reader.lines == lines, f"{reader.lines} is not {lines}"
    *items, last = map(json.loads, lines)
    assert [item["n"] for item in items] == list(range(len(items))), lines
    assert "status" in last, lines
    status = last["status"]
    found.ends[status] = found.ends.get(status, 0) + 1


async def check_fencing(runs: Runs, size: Size, url: str) -> None:
    """A second process takes over all runs of a first, which writes no more."""
    run_ids = [f"taken/{number}" for number in range(size.runs)]
    readers = [Reader(runs, run_id) for run_id in run_ids]
    first, second = (producer(url, size, run_ids, items) for items in (ENDLESS, ITEMS))
    async with first, second:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(reader.read() for reader in readers))
    for reader in readers:
        *items, last = map(json.loads, reader.lines)
        numbers = [item["n"] for item in items]
        assert numbers == [*range(len(numbers) - ITEMS), *range(ITEMS)], numbers
        assert last["status"] == "finished", last


async def check_deletions(runs: Runs, size: Size, found: Found, url: str) -> None:
    """Delete the streams of runs under their producers and readers."""
    run_ids = [f"deleted/{number}" for number in range(size.runs)]
    readers = [Reader(runs, run_id) for run_id in run_ids]
    async with producer(url, size, run_ids, ENDLESS):
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        await until(lambda: all(reader.lines for reader in readers))
        for run_id in run_ids:
            async with StreamRequests(stream_url(url, run_id)) as stream:
                await stream.delete()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*reading)
    for reader in readers:
        *items, last = map(json.loads, reader.lines)
        assert [item["n"] for item in items] == list(range(len(items))), items
        found.lost += last["status"] == "failed"


async def check_stops(url: str, size: Size, found: Found) -> None:
    """Stop runs that are produced on another replica, and take the time until they know."""
    async with Runs(url, stop_grace=PATIENCE_S) as here, Runs(url) as there:
        told: dict[str, asyncio.Future[float]] = {}

        async def source(run_id: str) -> AsyncIterator[str]:
            yield "started"
            await here.stopped(run_id).wait()
            told[run_id].set_result(time.monotonic())

        for number in range(size.runs):
            run_id = f"stop/{number}"
            told[run_id] = asyncio.get_running_loop().create_future()
            await here.start(run_id, source(run_id))
        for run_id, stopped in told.items():
            asked = time.monotonic()
            assert await there.stop(run_id)
            found.stops_s.append(await stopped - asked)
            state = None
            while state is None or state.status == "active":
                state = await there.state(run_id)
            assert state.status == "stopped", state


async def check_states(runs: Runs, size: Size, found: Found) -> None:
    """Take the time that the state of a long run takes, once it has ended."""

    async def source() -> AsyncIterator[str]:
        for number in range(size.long):
            yield "something"
            if number % ITEMS_AT_ONCE == 0:
                await asyncio.sleep(0)

    await runs.start("long", source(), format="sse")
    while (state := await runs.state("long")) == RunState("active"):
        await asyncio.sleep(0.1)
    for _ in range(STATES):
        asked = time.monotonic()
        assert await runs.state("long") == state == RunState("finished"), state
        found.states_s.append(time.monotonic() - asked)


SERVERS = ("Headgate", "reference")


@contextlib.contextmanager
def started(server: str) -> Iterator[str]:
    """Where streams are at a server of this kind."""
    if server == "Headgate":
        with headgate() as gateway:
            yield gateway.streams
    else:
        with reference() as other:
            yield other.url


async def play(size: Size, server: str) -> Found:
    """The whole campaign, with a server of its own."""
    found = Found()
    with started(server) as streams:
        url = f"{streams}/campaign"
        async with Runs(url, orphan_after=size.orphan_after) as runs:
            await check_ends(runs, size, found, url)
            await check_fencing(runs, size, url)
            await check_deletions(runs, size, found, url)
            await check_states(runs, size, found)
        await check_stops(url, size, found)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def broken(found: Found, size: Size, stopped_within_s: float, state_within_s: float) -> list[str]:
    """The promises that were not kept, beside those that end the campaign at once."""
    slow_s, state_s = percentile(found.stops_s, 0.99), percentile(found.states_s, 0.5)
    expected = (size.kills, size.cuts, {"orphaned": size.kills * (size.runs // size.processes)})
    seen = (found.kills, found.cuts, found.ends)
    kept = {
        f"kills, cuts and ends were to be {expected}, and are {seen}": seen == expected,
        f"{size.runs} readers were to lose their runs, not {found.lost}": found.lost == size.runs,
        f"{size.runs} runs were to be stopped, not {len(found.stops_s)}": (
            len(found.stops_s) == size.runs
        ),
        f"the state of a long run was to take {state_within_s} s, not {state_s:.4f} s": (
            state_s <= state_within_s
        ),
        f"p99 of a stop was to be {stopped_within_s} s, and is {slow_s:.3f} s": (
            slow_s <= stopped_within_s
        ),
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]
