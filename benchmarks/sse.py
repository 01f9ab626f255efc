"""Server-sent events: 100 events, 2 ms apart, to thousands of readers of one stream."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.report import CORES, DELAYS, Column, Section, against, at_least, at_most
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer, Nchan, Reference
from benchmarks.tools import held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

OURS = "headgate memory:"
EVENTS = 100
INTERVAL_US = 2000
NO_FEWER = 0.95  # both deliver as fast as is posted; the last delivery's delay is in it, too
MOST_P50_MS = 6  # where Electric's server has 4.6


def bench(plan: Plan) -> Section:
    """Headgate against nchan, with the reference server and the peers at hand beside them."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        deliver(server, f"warm-{next(numbers)}", 50)
        for readers in plan.loads([1000, 5000], 100):

            def once(readers: int = readers) -> Figures:
                return deliver(server, f"sse-{next(numbers)}", readers)

            yield f"{readers:,} readers", undisturbed(once)

    found = medians(
        plan, [lambda: HeadgateServer("memory:"), Nchan, Reference, *peers.at_hand()], measure
    )
    few, many = "1,000 readers", "5,000 readers"
    deliveries, p99 = ("deliveries", "per_s"), ("p99 delay", "p99_ms")
    return Section(
        title=f"server-sent events, {EVENTS} of them {INTERVAL_US // 1000} ms apart",
        columns=(Column("per_s", "deliveries/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=[
            *against(at_least, found, OURS, few, deliveries, {"nchan": 2.5, "electric": NO_FEWER}),
            at_most(f"{few}: p50 delay", found[OURS][few]["p50_ms"], MOST_P50_MS, "ms"),
            *against(at_least, found, OURS, many, deliveries, {"nchan": 8}),
            *against(at_most, found, OURS, many, p99, {"nchan": 1 / 8}),
        ],
    )


def deliver(server: Server, stream: str, readers: int) -> Figures:
    """Make a stream, and give its events to readers that already wait."""
    server.create(stream, "application/json")
    load = (server.port, readers, EVENTS, INTERVAL_US, server.pid)
    posting = (server.append_port, server.append_path(stream))
    with held("fanout", *load, *posting, server.events_path(stream)) as waiting:
        server.settle()
        return waiting.release()
