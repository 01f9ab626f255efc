"""Days of appends with retention: how large the data file is then. And appends beside reclaiming.

    python -m campaigns.kept_space [--days 5] [--rounds 2]

The second part measures how long appends take without anything to free, and while room is freed
beside them, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.protocol.streams.limits import Retention
from headgate_gateway.streams.lifecycle import INTERVAL_S, STEPS
from tests.logs.kept_space import DAY_S, Writing, service_on, size_after

if TYPE_CHECKING:
    from headgate_gateway.logs.contract import Log
    from tests.streams.service import Service

TURN_S, TURNS = 2.0, 5
OLD = 250  # streams of 4 MB whose room is freed beside the appends


async def latencies(folder: Path, turns: int) -> tuple[list[float], list[float]]:
    """Return how long appends took, in seconds, without and while room is freed, in turns."""
    took: tuple[list[float], list[float]] = ([], [])
    async with service_on(folder, Retention()) as service:
        await service.create("s")
        for number in range(OLD):
            await _fill_and_delete(service, f"old{number}")
        for turn in range(2 * turns):
            frees = turn % 2 == 1
            freeing = asyncio.create_task(_free(service.log)) if frees else None
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


async def _free(log: Log) -> None:
    """Free room at the pace of a sweeper."""
    more = True
    while more:
        for _ in range(STEPS):
            more = await log.reclaim()
        await asyncio.sleep(INTERVAL_S)


async def campaign(days: int, rounds: int) -> int:
    """Play it, and return how many files were too large."""
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
            click.echo(
                f"{writing} {retention}: written {sizes.written:,}, kept {sizes.kept:,}, file"
                f" {sizes.file:,}, {sizes.file / sizes.kept:.2f} times: {is_bounded}"
            )
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            without, beside = await latencies(Path(folder), TURNS)
        for what, took in (("without", without), ("while room is freed", beside)):
            p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
            click.echo(f"appends {what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    sys.exit(min(1, asyncio.run(campaign(given.days, given.rounds))))
