"""What a page of a list of 100,000 streams takes over HTTP, and what stays of it in memory."""

from __future__ import annotations

import asyncio
import gc
import resource
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.listing import create, name_of
from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import tell
from headgate.redis_url import parse_redis
from headgate_gateway.features.listing import LARGEST_PAGE
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from tests.support.redis_servers import redis_server
from tests.support.serving import PREFIX, get, serving
from tests.support.tokens_files import token, write_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Measured, Plan
    from benchmarks.tools import Figures
    from headgate_gateway.logs.contract import Log
    from tests.support.serving import Serving

STREAMS = 100_000
PAGES = 20  # of each kind
MOST_MS, LONGEST_TURN_MS, MOST_GROWTH_MB = 50.0, 20.0, 2.0
QUERIES = {
    "100 names": "",
    "1,000 names": f"limit={LARGEST_PAGE}",
    "1,000 names from the middle": f"limit={LARGEST_PAGE}&after={name_of(STREAMS // 2)}",
    "a folder of one": f"begins={name_of(7).removesuffix('events')}",
}


def bench(_: Plan) -> Section:
    """Measure pages of each kind, from memory and from a Redis, with the client in this process."""
    found = {"memory:": asyncio.run(figures_of(MemoryLog()))}
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with redis_server(folder) as server:
            settings = RedisSettings(parse_redis(server.url))
            found["redis:"] = asyncio.run(figures_of(RedisLog(settings)))
    finally:
        shutil.rmtree(folder)
    return Section(
        title=f"a page of a list of {STREAMS:,} streams, over HTTP",
        columns=(
            *(Column("median_ms", "median ms", 1), Column("worst_ms", "worst ms", 1)),
            *(Column("cpu_ms", "ms of processor", 1), Column("turn_ms", "longest turn ms", 1)),
            Column("growth_mb", "more memory after it, MB", 1),
        ),
        servers=found,
        verdicts=[
            at_most(f"{log} {load}, {figure}", figures[figure], most, unit)
            for log, measured in found.items()
            for load, figures in measured.items()
            for figure, most, unit in (
                ("median_ms", MOST_MS, "ms"),
                ("turn_ms", LONGEST_TURN_MS, "ms"),
                ("growth_mb", MOST_GROWTH_MB, "MB"),
            )
        ],
    )


async def figures_of(log: Log) -> Measured:
    """Return the figures of each kind of page of a log that is empty."""
    with tempfile.TemporaryDirectory() as folder:
        grants = {"all": [("*", "read")]}
        tokens_file = write_tokens(Path(folder), grants, without="", prefix=PREFIX)
        own = {"auth": ("tokens",), "listing": "on"}
        async with serving(log, own=own, tokens_file=tokens_file) as gateway:
            tell(f"creating {STREAMS:,} streams")
            await create(log, STREAMS)
            return {load: await _figures(gateway, query) for load, query in QUERIES.items()}


async def _figures(gateway: Serving, query: str) -> Figures:
    asked = get(f"{PREFIX}/__ds/streams?{query}", f"Authorization: Bearer {token('all')}")
    client, took = await gateway.connect(), list[float]()
    assert (await client.ask(asked)).status == 200
    gc.collect()
    before, began = _resident_mb(), time.process_time()
    with _longest_turn() as turns:
        for _ in range(PAGES):
            start = time.perf_counter()
            assert (await client.ask(asked)).status == 200
            took.append((time.perf_counter() - start) * 1000)
    spent_ms = (time.process_time() - began) * 1000
    client.close()
    gc.collect()
    return {
        "median_ms": median(took),
        "worst_ms": max(took),
        "cpu_ms": spent_ms / PAGES,
        "turn_ms": max(turns) * 1000,
        "growth_mb": max(0.0, _resident_mb() - before),
    }


@contextmanager
def _longest_turn() -> Iterator[list[float]]:
    """Yield a list with the processor time of the longest turn of the event loop in the block."""
    longest = [0.0]
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        longest[0] = max(longest[0], time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
    try:
        yield longest
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
