"""Appends of 100 bytes by 64 writers to streams in Redis, every acknowledged one looked for."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.append import RECORD_BYTES, WRITERS, append
from benchmarks.machine import SERVER_CORE, TOOL_CORE
from benchmarks.redis_log import (
    ALWAYS,
    EVERY_SECOND,
    BareRedis,
    HeadgateOnRedis,
    TwoGateways,
)
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.rounds import apart, medians, undisturbed
from benchmarks.servers import HeadgateServer, Server
from benchmarks.tools import ToolFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.rounds import Plan
    from benchmarks.tools import Figures

ON_8 = 28_000
ON_1000 = 20_000
SAME_CORE, BOTH_CORES = "two, same core", "two, both cores"
NO_SLOWER = 1.1  # two runs of one server differ by as much
# About what a bare Redis takes in a second when it shares its core with redis-benchmark.
XADDS_PER_S = 40_000
RATE = Column("per_s", "appends/s")
COLUMNS = (RATE, *DELAYS, *CORES, Column("redis_cpu", "cpu redis", 2))
_numbers = itertools.count()


def bench(plan: Plan) -> Section:
    """One gateway on its core, beside bare XADD and Headgate's own memory."""
    found = medians(
        plan,
        [
            HeadgateOnRedis,
            lambda: HeadgateServer("memory:"),
            lambda: BareRedis("XADD"),
            lambda: BareRedis("XADD, core 0", core=SERVER_CORE),
        ],
        partial(_each_load, plan, (1, 8, 1000)),
    )
    ours = found["headgate redis:"]
    return Section(
        title=f"{_TITLE}, kept in memory only",
        columns=COLUMNS,
        servers=found,
        verdicts=[
            at_least("8 streams", ours["8 streams"]["per_s"], ON_8, "/s"),
            at_least("1,000 streams", ours["1,000 streams"]["per_s"], ON_1000, "/s"),
        ],
    )


def bench_durable(plan: Plan) -> Section:
    """Measure appends with an append-only file, synced each second or with each write."""
    kinds = {"everysec": EVERY_SECOND, "always": ALWAYS}
    servers: list[Callable[[], Server]] = []
    for name, options in kinds.items():
        servers.append(partial(HeadgateOnRedis, options, label=f"headgate redis:, {name}"))
        servers.append(partial(BareRedis, f"XADD, {name}", options))
    return Section(
        title=f"{_TITLE}, appendonly yes, by appendfsync",
        columns=COLUMNS,
        servers=medians(plan, servers, partial(_each_load, plan, plan.loads([8], 1, 1000))),
        verdicts=[],
    )


def bench_gateways(plan: Plan) -> Section:
    """Two gateways on one stream and one core, beside one on that core; and with both cores."""
    found = medians(
        plan,
        [
            HeadgateOnRedis,
            partial(TwoGateways, SAME_CORE),
            partial(TwoGateways, BOTH_CORES, second_core=TOOL_CORE),
        ],
        partial(_each_load, plan, plan.loads([1], 8)),
    )
    rates = {label: measured["1 stream"]["per_s"] for label, measured in found.items()}
    alone = rates["headgate redis:"]
    return Section(
        title=f"{_TITLE}, by one gateway and by two",
        columns=(
            *COLUMNS,
            Column("per_commit", "appends/commit", 1),
            Column("calls_per_commit", "calls/commit", 2),
        ),
        servers=found,
        verdicts=[
            at_least(f"1 stream: {two} / one gateway", rates[two] / alone, 1 / NO_SLOWER)
            for two in (SAME_CORE, BOTH_CORES)
        ],
    )


_TITLE = f"appends of {RECORD_BYTES} bytes over {WRITERS} connections to Redis"


def _each_load(plan: Plan, loads: Sequence[int], server: Server) -> Iterator[tuple[str, Figures]]:
    for streams in loads:

        def once(streams: int = streams) -> Figures:
            names = [f"append-{next(_numbers)}" for _ in range(streams)]
            return _measure(server, names, plan.milliseconds)

        yield f"{streams:,} stream{'s' * (streams > 1)}", undisturbed(once)


def _measure(server: Server, streams: Sequence[str], milliseconds: int) -> Figures:
    if isinstance(server, BareRedis):
        return _xadd(server, streams, milliseconds)
    append(server, [f"warm-{streams[0]}"], 500, "asleep")
    once = partial(append, server, streams, milliseconds, "asleep")
    if not isinstance(server, HeadgateOnRedis):
        return {"redis_cpu": 0.0, **once()}
    before = server.calls()
    second = [server.second_pid] if isinstance(server, TwoGateways) else []
    figures = apart(once, redis_cpu=[server.redis_pid], second_cpu=second)
    commits = sum(server.version(stream) for stream in streams)
    return {
        **figures,
        "server_cpu": figures["server_cpu"] + figures["second_cpu"],
        "per_commit": figures["requests"] / commits,
        "calls_per_commit": (server.calls() - before) / commits,
    }


def _xadd(server: BareRedis, streams: Sequence[str], milliseconds: int) -> Figures:
    """As many records of the same length, one XADD each."""
    redis, requests = server.redis.server, XADDS_PER_S * milliseconds // 1000
    redis.command("FLUSHALL")
    record = "." * RECORD_BYTES
    figures = server.run(
        WRITERS, requests, "XADD", "append-__rand_int__", "*", "d", record, keys=len(streams)
    )
    with redis.client() as client:
        kept = sum(client.xlen(key) for key in client.scan_iter(count=1000))
    if kept != requests:
        raise ToolFailed(f"{requests} XADDs, {kept} in the streams")
    return figures
