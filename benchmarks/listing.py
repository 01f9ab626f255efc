"""How long a page of a million streams takes, in the logs that keep so many."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.redis_log import DISK
from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import tell
from headgate.redis_url import parse_redis
from headgate_gateway.features.questions.streams import PAGE
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.state import Change, StreamState
from tests.logs.abilities import needed
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.rounds import Measured, Plan
    from headgate_gateway.logs.contract import Log

STREAMS = 1_000_000
QUICK_STREAMS = 100_000
AT_ONCE = 2_000  # created together
PAGES = 200  # of each kind
MOST_MS = 300.0
INDEXED_S = 60.0  # after the last creation


def bench(plan: Plan) -> Section:
    """Pages from the beginning, after any stream, and of any prefix; and a survey of sizes."""
    streams = STREAMS if plan.every_load else QUICK_STREAMS
    DISK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=DISK))
    try:
        found = {"file:": asyncio.run(_measured(SqliteLog(folder / "file"), streams))}
        with redis_server(folder / "redis") as server:
            settings = RedisSettings(parse_redis(server.url))
            found["redis:"] = asyncio.run(_on_redis(settings, streams))
    finally:
        shutil.rmtree(folder)
    return Section(
        title=f"a page of {PAGE} of {streams:,} streams, and the largest of them",
        columns=(Column("median_ms", "median ms", 1), Column("worst_ms", "worst ms", 1)),
        servers=found,
        verdicts=[
            at_most(f"{log} {load}", figures["worst_ms"], MOST_MS, "ms")
            for log, measured in found.items()
            for load, figures in measured.items()
            if load != "largest"
        ],
    )


async def _on_redis(settings: RedisSettings, streams: int) -> Measured:
    return await _measured(RedisLog(settings), streams)


async def _measured(log: Log, streams: int) -> Measured:
    await log.open()
    try:
        tell(f"creating {streams:,} streams")
        await create(log, streams)
        chance = random.Random(1)
        names = [name_of(chance.randrange(streams)) for _ in range(PAGES)]
        return {
            "first page": await _timed(lambda _: needed(log.listing).page("", "", PAGE), names),
            "any page": await _timed(lambda name: needed(log.listing).page("", name, PAGE), names),
            "any prefix": await _timed(
                lambda name: needed(log.listing).page(
                    name[: len(name) - 7 + len(name) % 3], "", PAGE
                ),
                names,
            ),
            "largest": await _timed(lambda _: needed(log.listing).largest("", 1000), names[:3]),
        }
    finally:
        await log.close()


def name_of(number: int) -> str:
    """Return the name of a stream by its number."""
    return f"chat/{number * 7919 % STREAMS:07}/events"


async def create(log: Log, streams: int) -> None:
    """Create so many streams, and wait until the log lists the last one."""
    history = (await log.load("-")).path_state.history
    for begin in range(0, streams, AT_ONCE):
        states = (
            StreamState(
                name_of(number),
                log.new_stream_id(),
                0,
                "application/json",
                tail=number,
                history=history,
                created_at=1_800_000_000,
            )
            for number in range(begin, min(begin + AT_ONCE, streams))
        )
        await asyncio.gather(*(log.commit([Change(state, None)]) for state in states))
    last = name_of(streams - 1)
    await until(lambda: _is_listed(log, last), f"{last} is listed", within_s=INDEXED_S)


async def _is_listed(log: Log, name: str) -> bool:
    return bool((await needed(log.listing).page(name, "", 1)).states)


async def _timed(ask: Callable[[str], Awaitable[object]], names: list[str]) -> dict[str, float]:
    """Return how long a request takes, one for each name."""
    took = []
    for name in names:
        began = time.perf_counter()
        await ask(name)
        took.append((time.perf_counter() - began) * 1000)
    return {"median_ms": median(took), "worst_ms": max(took)}
