"""Reads that no cache has: what a proxy adds to the origin's own time."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING

from benchmarks.catchup import BODY
from benchmarks.proxies import HeadgateProxy, Origin, Proxy, passing_nginx
from benchmarks.report import CORES, Column, Section
from benchmarks.rounds import medians, undisturbed
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Measured, Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

CONNECTIONS = (1, 16)
TIMES = ("p50_ms", "p99_ms")


def bench(plan: Plan) -> Section:
    """Headgate and nginx before the origin, and the origin without either."""
    numbers = itertools.count()
    with tempfile.NamedTemporaryFile() as body:
        body.write(BODY)
        body.flush()

        def measure(server: Server) -> Iterator[tuple[str, Figures]]:
            server.create("doc", "application/json", BODY)
            for connections in CONNECTIONS:

                def once(connections: int = connections) -> Figures:
                    path = f"/v1/stream/doc?offset=-1&run={next(numbers)}"
                    load = (server.port, connections, plan.milliseconds, server.pid, body.name)
                    return run("load", "asleep", "miss", *load, path)

                def apart() -> Figures:
                    return server.told_apart(once) if isinstance(server, Proxy) else once()

                once()  # warms up
                yield f"{connections} connections", {"origin_cpu": 0.0, **undisturbed(apart)}

        found = medians(plan, [HeadgateProxy, passing_nginx, Origin], measure)
    _subtract(found)
    return Section(
        title=f"uncached reads of {len(BODY):,} bytes",
        columns=(
            Column("per_s", "reads/s"),
            Column("p50_ms", "p50 ms", 3),
            Column("added_p50_ms", "added", 3),
            Column("p99_ms", "p99 ms", 3),
            Column("added_p99_ms", "added", 3),
            *CORES,
            Column("origin_cpu", "cpu origin", 2),
        ),
        servers=found,
        verdicts=[],
    )


def _subtract(found: dict[str, Measured]) -> None:
    """Add to each figure what it is more than the origin's own."""
    for measured in found.values():
        for load, figures in measured.items():
            for time in TIMES:
                figures[f"added_{time}"] = figures[time] - found["origin itself"][load][time]
