"""Days of appends with retention: how large the data file is then. And appends beside reclaiming.

    python -m tests.backends.kept_space [--days 5] [--rounds 2]

The days pass by a clock that is turned, with a sweep after each hour. The second part measures how
long appends take without anything to free, and while room is freed beside them, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.backends.sqlite import recent
from gateway.backends.sqlite.log import SqliteLog
from gateway.backends.sqlite.writing.reclaiming import SPARE_PAGES
from gateway.protocol.streams.retention import Retention
from gateway.streams.sweeper import INTERVAL_S, STEPS
from tests.backends.abilities import needed
from tests.backends.contract import reclaimed
from tests.streams.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.backends.contract import Upkeep

HOUR_S, DAY_S = 3600, 24 * 3600
PAGE_BYTES = 4096
WAL_BYTES = 5 * 1024 * 1024  # a thousand pages, and what came while they were copied
# What a file takes besides its records, however many these are: the spare pages, the WAL, and the
# short appends that wait in the table `recent`, or are still there.
FIXED_BYTES = SPARE_PAGES * PAGE_BYTES + WAL_BYTES + (recent.TABLE_LAPS + 1) * recent.MOST_BYTES
MOST_RATIO = 1.15  # of the file to the records that are kept, without FIXED_BYTES
TURN_S, TURNS = 2.0, 5
OLD = 250  # streams of 4 MB whose room is freed beside the appends


class Writing(NamedTuple):
    """Appends of each hour: to so many streams, so many of so many bytes each."""

    streams: int
    appends: int
    size: int


class Sizes(NamedTuple):
    """Bytes: of all that was written what is kept, and the most that file and WAL have had."""

    written: int
    kept: int
    file: int

    @property
    def are_bounded(self) -> bool:
        """True if the file is not much larger than what is kept."""
        return self.file <= MOST_RATIO * self.kept + FIXED_BYTES


@contextlib.asynccontextmanager
async def service_on(folder: Path, retention: Retention) -> AsyncIterator[Service]:
    log = SqliteLog(folder)
    await log.open()
    try:
        yield Service(log, retention=retention)
    finally:
        await log.close()


async def size_after(folder: Path, days: int, writing: Writing, retention: Retention) -> Sizes:
    """Write for so many days, and return what is kept and how large the file has been."""
    written = most = 0
    names = [f"s{number}" for number in range(writing.streams)]
    data = b"x" * writing.size
    async with service_on(folder, retention) as service:
        for name in names:
            await service.create(name)
        for _ in range(days * 24):
            for _ in range(writing.appends):
                await asyncio.gather(*(service.append(name, data) for name in names))
                written += len(data) * len(names)
            service.clock.advance(HOUR_S)
            await service.sweeper.round()
            await reclaimed(service.log)
            most = max(most, _file_size(folder))
        states = [(await service.table.load(name)).state for name in names]
        return Sizes(written, sum(state.size for state in states if state is not None), most)


def _file_size(folder: Path) -> int:
    return sum((folder / f"headgate.db{end}").stat().st_size for end in ("", "-wal"))


async def latencies(folder: Path, turns: int) -> tuple[list[float], list[float]]:
    """Return how long appends took, in seconds, without and while room is freed, in turns."""
    took: tuple[list[float], list[float]] = ([], [])
    async with service_on(folder, Retention()) as service:
        await service.create("s")
        for number in range(OLD):
            await _fill_and_delete(service, f"old{number}")
        for turn in range(2 * turns):
            frees = turn % 2 == 1
            freeing = asyncio.create_task(_free(needed(service.log.upkeep))) if frees else None
            until = time.perf_counter() + TURN_S
            while time.perf_counter() < until:
                began = time.perf_counter()
                await service.append("s", b"z" * 200)
                took[frees].append(time.perf_counter() - began)
                await asyncio.sleep(0.002)
            if freeing is not None:
                assert not freeing.done(), "there has to be something to free all the time"
                freeing.cancel()
    return sorted(took[False]), sorted(took[True])


async def _fill_and_delete(service: Service, name: str) -> None:
    await service.create(name)
    for _ in range(4):
        await asyncio.gather(*(service.append(name, b"y" * 5000) for _ in range(200)))
    await service.lifecycle.delete(name)


async def _free(upkeep: Upkeep) -> None:
    """Free room at the pace of a sweeper."""
    more = True
    while more:
        for _ in range(STEPS):
            more = await upkeep.reclaim()
        await asyncio.sleep(INTERVAL_S)


async def _campaign(days: int, rounds: int) -> int:
    bad = 0
    writings = (Writing(50, 100, 1000), Writing(20, 400, 96), Writing(50, 10, 20_000))
    for writing in writings:
        day_bytes = 24 * writing.appends * writing.size
        for retention in (
            Retention(max_age_s=DAY_S),
            Retention(max_bytes=day_bytes),
            Retention(max_messages=24 * writing.appends),
        ):
            with tempfile.TemporaryDirectory() as folder:
                sizes = await size_after(Path(folder), days, writing, retention)
            is_bounded = sizes.are_bounded
            bad += not is_bounded
            _say(
                f"{writing} {retention}: written {sizes.written:,}, kept {sizes.kept:,}, file"
                f" {sizes.file:,}, {sizes.file / sizes.kept:.2f} times: {is_bounded}"
            )
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            without, beside = await latencies(Path(folder), TURNS)
        for what, took in (("without", without), ("while room is freed", beside)):
            p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
            _say(f"appends {what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return bad


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    sys.exit(min(1, asyncio.run(_campaign(given.days, given.rounds))))
