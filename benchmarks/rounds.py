"""Servers measured in turn, several times over, and the medians of what was found."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from benchmarks.machine import busy_cores, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.servers import Server
    from benchmarks.tools import Figures

S = TypeVar("S", bound="Server")

QUIET_CORES = 0.1
QUIET_TIMEOUT_S = 20.0
DISTURBED_CORES = 0.15
TRIES = 3

# One figure table for each load, as a server was put under it.
Measured = dict[str, "Figures"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is."""

    rounds: int
    milliseconds: int
    every_load: bool

    def loads(self, judged: Sequence[int], *others: int) -> list[int]:
        """Return the loads that have a required figure, and the others when there is time."""
        return sorted([*judged, *others]) if self.every_load else list(judged)


def medians(
    plan: Plan,
    servers: Sequence[Callable[[], S]],
    measure: Callable[[S], Iterator[tuple[str, Figures]]],
) -> dict[str, Measured]:
    """Each server's figures under each load: `measure` yields them, once a round."""
    found: dict[str, dict[str, list[Figures]]] = {}
    for turn in range(plan.rounds):
        for make in servers:
            with make() as server:
                for load, figures in measure(server):
                    found.setdefault(server.label, {}).setdefault(load, []).append(figures)
                    tell(f"round {turn + 1}: {server.label}, {load}: {_brief(figures)}")
    return {
        label: {load: _median(runs) for load, runs in loads.items()}
        for label, loads in found.items()
    }


def undisturbed(measure: Callable[[], Figures]) -> Figures:
    """Measure while little else runs on the two cores, or return the best of a few."""
    runs = []
    for _ in range(TRIES):
        await_quiet()
        runs.append(measure())
        if runs[-1]["other_cpu"] <= DISTURBED_CORES:
            break
    return min(runs, key=lambda run: run["other_cpu"])


def apart(measure: Callable[[], Figures], **others: Sequence[int]) -> Figures:
    """Measure, and count the time of some processes apart from what else ran."""
    before = {name: _spent(pids) for name, pids in others.items()}
    figures = measure()
    shares = {
        name: (_spent(pids) - before[name]) / figures["seconds"] for name, pids in others.items()
    }
    other = max(0.0, figures["other_cpu"] - sum(shares.values()))
    return {**figures, **shares, "other_cpu": other}


def await_quiet(busy: Callable[[], float] = busy_cores, within_s: float = QUIET_TIMEOUT_S) -> None:
    """Wait until little runs on the two cores, as `busy` tells it, but not for ever; say so."""
    began = time.monotonic()
    if (cores := busy()) <= QUIET_CORES:
        return
    tell(
        f"waiting up to {within_s:g} s for a quiet machine: "
        f"{cores:.2f} of its 2 cores are busy with something else, {QUIET_CORES} may be"
    )
    while (cores := busy()) > QUIET_CORES:
        if time.monotonic() - began >= within_s:
            tell(f"it is not quiet, {cores:.2f} cores are busy: measuring all the same")
            return


def tell(progress: str) -> None:
    """Show that a long run is alive."""
    sys.stderr.write(progress + "\n")


def _spent(pids: Sequence[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


def _median(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _brief(figures: Figures) -> str:
    return " ".join(f"{name}={value:g}" for name, value in figures.items())
