"""Catch-up reads of what no cache has: from Redis, from files, and a bare XRANGE."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.append import RECORD_BYTES
from benchmarks.redis_log import DISK, BareRedis, HeadgateOnRedis
from benchmarks.report import CORES, DELAYS, Column, Section
from benchmarks.rounds import apart, medians, undisturbed
from benchmarks.servers import HeadgateServer
from benchmarks.tools import ToolFailed, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

READERS = (1, 8)
CHUNK_BYTES = 256 * 1024
CHUNK_RECORDS = CHUNK_BYTES // RECORD_BYTES + 1
FILL_MS = 5000
UNCACHED = {"HEADGATE_CACHE_SIZE": "0"}
XRANGES_PER_S = 400  # about what a bare Redis answers


def bench(plan: Plan) -> Section:
    """Each reader walks a stream of its own, from its beginning to its tail, again and again."""
    DISK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=DISK))
    numbers = itertools.count()

    def on_files() -> HeadgateServer:
        return HeadgateServer(f"file:{folder / str(next(numbers))}", environment=UNCACHED)

    try:
        found = medians(
            plan,
            [
                partial(HeadgateOnRedis, environment=UNCACHED),
                on_files,
                lambda: BareRedis("XRANGE"),
            ],
            partial(_measure, plan),
        )
    finally:
        shutil.rmtree(folder)
    return Section(
        title=f"uncached catch-up reads of 256 KiB, in records of {RECORD_BYTES} bytes",
        columns=(
            Column("per_s", "reads/s"),
            Column("mb_per_s", "MB/s", 1),
            *DELAYS,
            *CORES,
            Column("redis_cpu", "cpu redis", 2),
        ),
        servers=found,
        verdicts=[],
    )


def _measure(plan: Plan, server: Server) -> Iterator[tuple[str, Figures]]:
    if isinstance(server, BareRedis):
        _fill_bare(server)
        read = partial(_ranges, server, plan.milliseconds)
    else:
        read = partial(_walk, server, plan.milliseconds, *_fill(server))
    for readers in READERS:
        label = f"{readers} reader{'s' * (readers > 1)}"
        yield label, undisturbed(partial(read, readers=readers))


def _fill(server: Server) -> tuple[list[str], int]:
    """Fill streams by a writer each; return their paths and the bytes of all."""
    streams = [f"walk-{number}" for number in range(max(READERS))]
    server.create_all(streams, "text/plain")
    paths = [server.append_path(stream) for stream in streams]
    load = (server.port, len(streams), FILL_MS, server.pid, RECORD_BYTES)
    return paths, int(run("load", "asleep", "post", *load, *paths)["requests"]) * RECORD_BYTES


def _walk(
    server: Server, milliseconds: int, paths: Sequence[str], written: int, *, readers: int
) -> Figures:
    load = (server.port, milliseconds, server.pid, RECORD_BYTES, *paths[:readers])
    redis = [server.redis_pid] if isinstance(server, HeadgateOnRedis) else []
    figures = apart(partial(run, "walk", *load), redis_cpu=redis)
    if readers == len(paths) and figures["streams_bytes"] != written:
        raise ToolFailed(f"{written} bytes appended, {figures['streams_bytes']:.0f} to be read")
    return figures


def _fill_bare(server: BareRedis) -> None:
    """Read the records of a chunk."""
    with server.redis.server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(CHUNK_RECORDS):
            pipeline.xadd("chunk", {"d": b"." * RECORD_BYTES}, id=f"{1 + number * RECORD_BYTES}-1")
        pipeline.execute()


def _ranges(server: BareRedis, milliseconds: int, *, readers: int) -> Figures:
    """Read the records of a chunk again and again."""
    requests = XRANGES_PER_S * milliseconds // 1000
    figures = server.run(readers, requests, "XRANGE", "chunk", "-", "+")
    return {**figures, "mb_per_s": figures["per_s"] * CHUNK_BYTES / 1e6}
