"""Server-sent events from an origin's stream, beside those from an own log."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks import sse
from benchmarks.proxies import HEADGATE, HeadgateProxy, Proxy
from benchmarks.report import CORES, DELAYS, Column, Section, at_least, at_most
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

READERS = (1000, 5000)
NO_SLOWER = 1.1  # two runs of one server differ by as much


def bench(plan: Plan) -> Section:
    """One feed from the origin against a log of Headgate's own."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        sse.deliver(server, f"warm-{next(numbers)}", 50)
        for readers in READERS:

            def once(readers: int = readers) -> Figures:
                return sse.deliver(server, f"sse-{next(numbers)}", readers)

            def apart() -> Figures:
                return server.told_apart(once) if isinstance(server, Proxy) else once()

            yield f"{readers:,} readers", {"origin_cpu": 0.0, **undisturbed(apart)}

    found = medians(
        plan,
        [lambda: HeadgateServer("memory:"), HeadgateProxy, lambda: HeadgateProxy(through=True)],
        measure,
    )
    own, origin = found["headgate memory:"], found[HEADGATE]
    verdicts = []
    for readers in READERS:
        load = f"{readers:,} readers"
        claims = {
            key: (f"{load}: {what}, origin / own log", origin[load][key] / own[load][key])
            for key, what in (("per_s", "deliveries"), ("p50_ms", "p50"), ("p99_ms", "p99"))
        }
        verdicts.append(at_least(*claims["per_s"], 1 / NO_SLOWER))
        verdicts += [at_most(*claims[key], NO_SLOWER) for key in ("p50_ms", "p99_ms")]
    return Section(
        title="server-sent events from an origin",
        columns=(
            Column("per_s", "deliveries/s"),
            *DELAYS,
            *CORES,
            Column("origin_cpu", "cpu origin", 2),
        ),
        servers=found,
        verdicts=verdicts,
    )
