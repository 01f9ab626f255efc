"""Counts of a route's runs, by OpenTelemetry's conventions for GenAI where they fit.

Their histograms of a client that streams are those of a run: how long it took, when its first item
came, and how long it was from one item to the next. The bounds are theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Histogram, Sample, counter, gauge, histogram, observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.records import Status


# Of gen_ai.client.operation.duration, .time_to_first_chunk and .time_per_output_chunk.
BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
STATUSES: tuple[Status, ...] = ("finished", "stopped", "failed", "orphaned")

STARTED = counter("headgate_runs_started_total", "Runs whose streams were created.", "route")
ENDED = counter(
    "headgate_runs_ended_total",
    "Runs whose streams were closed, by how they ended.",
    *("route", "status"),
)
ITEMS = counter("headgate_run_items_total", "Items of runs that were stored.", "route")
DURATION = histogram(
    "headgate_run_duration_seconds",
    "Time from the creation of a run's stream to its end.",
    *("route", "status"),
    bounds=BOUNDS_S,
)
FIRST_ITEM = histogram(
    "headgate_run_first_item_seconds",
    "Time from the creation of a run's stream to the first item of its source.",
    "route",
    bounds=BOUNDS_S,
)
PER_ITEM = histogram(
    "headgate_run_seconds_per_item",
    "Mean time from one item of a run to the next, after the first.",
    "route",
    bounds=BOUNDS_S,
)
KNOWN = gauge("headgate_runs_known", "Runs that the console can show.", "route")
FORGOTTEN = counter(
    "headgate_runs_forgotten_total",
    "Runs that were dropped from the console to make room for newer ones.",
    "route",
)


class RunMetrics:
    """The runs of a route in this process."""

    def __init__(self) -> None:
        self.started = 0
        self.items = 0
        self.forgotten = 0
        self.ended = dict.fromkeys(STATUSES, 0)
        self.durations = {status: Histogram(BOUNDS_S) for status in STATUSES}
        self.first_item = Histogram(BOUNDS_S)
        self.per_item = Histogram(BOUNDS_S)

    def end(self, status: Status, lasted_s: float | None, per_item_s: float | None) -> None:
        """Count a run that has ended; times are None where they are not known."""
        self.ended[status] += 1
        if lasted_s is not None:
            self.durations[status].observe(lasted_s)
        if per_item_s is not None:
            self.per_item.observe(per_item_s)


def samples(prefix: str, figures: RunMetrics, known: int) -> Iterator[Sample]:
    """Yield every number of the runs of the route with this prefix; `known` are in its list."""
    yield Sample(STARTED, (prefix,), figures.started)
    yield Sample(ITEMS, (prefix,), figures.items)
    yield Sample(KNOWN, (prefix,), known)
    yield Sample(FORGOTTEN, (prefix,), figures.forgotten)
    for status in STATUSES:
        yield Sample(ENDED, (prefix, status), figures.ended[status])
        yield observed(DURATION, figures.durations[status], prefix, status)
    yield observed(FIRST_ITEM, figures.first_item, prefix)
    yield observed(PER_ITEM, figures.per_item, prefix)
