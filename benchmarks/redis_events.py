"""Events through Redis: appended at one gateway, awaited at another."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.redis_log import HeadgateOnRedis, TwoGateways
from benchmarks.report import CORES, DELAYS, Column, Section, at_most
from benchmarks.rounds import apart, medians, undisturbed
from benchmarks.servers import HeadgateServer
from benchmarks.tools import held, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

EVENTS = 1000
INTERVAL_US = 5000
MOST_MS = 10
ACROSS = "headgate redis:, A to B"


class Wait(NamedTuple):
    """How readers wait: one for each stream."""

    tool: str
    label: str


WAITS = (Wait("fanout", "SSE"), Wait("longpoll", "long-poll"))
JUDGED = 1000


def bench(plan: Plan) -> Section:
    """Two gateways, beside one for both sides and one with its own memory."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        for wait in WAITS:
            wake(server, wait, f"warm-{next(numbers)}", 10, 100)
            for streams in plan.loads([JUDGED], 1):

                def once(wait: Wait = wait, streams: int = streams) -> Figures:
                    return wake(server, wait, f"wake-{next(numbers)}", streams, EVENTS)

                yield _load(wait, streams), undisturbed(once)

    servers: list[Callable[[], Server]] = [
        partial(TwoGateways, ACROSS),
        HeadgateOnRedis,
        lambda: HeadgateServer("memory:"),
    ]
    found = medians(plan, servers, measure)
    return Section(
        title=f"{EVENTS:,} events, {INTERVAL_US // 1000} ms apart, to streams with a reader each",
        columns=(
            *DELAYS,
            Column("answer_p50_ms", "append p50", 2),
            Column("answer_p99_ms", "append p99", 2),
            *CORES,
            Column("redis_cpu", "cpu redis", 2),
        ),
        servers=found,
        verdicts=[
            at_most(
                f"{load} streams: p99 from A to B", found[ACROSS][load]["p99_ms"], MOST_MS, "ms"
            )
            for load in (_load(wait, JUDGED) for wait in WAITS)
        ],
    )


def wake(server: Server, wait: Wait, name: str, streams: int, events: int) -> Figures:
    """Make streams, and give their events to readers that already wait, one for each."""
    server.create_all((f"{name}-{number}" for number in range(streams)), "application/json")
    stream = f"{name}-#" if streams > 1 else f"{name}-0"
    path = server.append_path(stream)
    load = (server.port, streams, events, INTERVAL_US, server.pid, server.append_port, path)
    more = [server.events_path(stream)] if wait.tool == "fanout" else []
    with held(wait.tool, *load, *more) as waiting:
        settle(server.pid)
        return apart(
            waiting.release,
            redis_cpu=[server.redis_pid] if isinstance(server, HeadgateOnRedis) else [],
            second_cpu=[server.second_pid] if isinstance(server, TwoGateways) else [],
        )


def _load(wait: Wait, streams: int) -> str:
    return f"{wait.label}, {streams:,}"
