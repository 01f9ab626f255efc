"""How long one client makes others wait, by whatever it may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.machine import SERVER_CORE
from benchmarks.report import Column, Section, at_most
from benchmarks.servers import on_core
from tests.support import stalls

if TYPE_CHECKING:
    from benchmarks.rounds import Measured, Plan

LONGEST_MS = 20.0


def bench(plan: Plan) -> Section:
    """Play the catalogue on each kind of log; of several rounds the best of each entry counts."""
    found: dict[str, Measured] = {kind: {} for kind in stalls.KINDS}
    for _ in range(plan.rounds):
        for kind, best in found.items():
            _measure(kind, best)
    return Section(
        title="What others wait while one client is dealt with",
        columns=(Column("cpu_ms", "cpu ms", 1), Column("wall_ms", "ms", 1)),
        servers=found,
        verdicts=[
            at_most(
                f"{kind}: longest stall, processor time",
                max(figures["cpu_ms"] for figures in entries.values()),
                LONGEST_MS,
                " ms",
            )
            for kind, entries in found.items()
        ],
    )


def _measure(kind: str, best: Measured) -> None:
    with stalls.started(kind, on_core(SERVER_CORE)) as server:
        for name, stall in stalls.stalls(server):
            known = best.get(name, {"cpu_ms": stall.cpu_ms, "wall_ms": stall.wall_ms})
            best[name] = {
                "cpu_ms": min(known["cpu_ms"], stall.cpu_ms),
                "wall_ms": min(known["wall_ms"], stall.wall_ms),
            }
