"""Long-poll: 20 messages, 50 ms apart, to thousands of pollers of one stream."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.report import CORES, DELAYS, Column, Section, against, at_most
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer, Reference
from benchmarks.tools import held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

MESSAGES = 20
INTERVAL_US = 50_000
# Of the p50 delay of 5,000 pollers, by which each other server divides ours.
MOST = {"reference": 0.5, "electric": 1.5, "caddy plugin": 0.35}


def bench(plan: Plan) -> Section:
    """Headgate against the reference server, and the peers at hand."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        follow(server, f"warm-{next(numbers)}", 50)
        for pollers in plan.loads([5000], 1000):

            def once(pollers: int = pollers) -> Figures:
                return follow(server, f"poll-{next(numbers)}", pollers)

            yield f"{pollers:,} pollers", undisturbed(once)

    found = medians(plan, [lambda: HeadgateServer("memory:"), Reference, *peers.at_hand()], measure)
    return Section(
        title=f"long-poll, {MESSAGES} messages {INTERVAL_US // 1000} ms apart",
        columns=(Column("per_s", "deliveries/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=against(
            at_most, found, "headgate memory:", "5,000 pollers", ("p50 delay", "p50_ms"), MOST
        ),
    )


def follow(server: Server, stream: str, pollers: int) -> Figures:
    """Make a stream, and give its messages to pollers that already wait."""
    server.create(stream, "application/json")
    path = server.append_path(stream)
    load = (server.port, pollers, MESSAGES, INTERVAL_US, server.pid, server.append_port)
    with held("longpoll", *load, path) as waiting:
        server.settle()
        return waiting.release()
