"""The record of each process of the gateway: what it uses, and how often it was replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_admin.model.kinds import HealthState
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.health import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.features.questions.process_source import ProcessReport
    from headgate_gateway.telemetry.metrics import Sample

CPU, LAG = "process_cpu_seconds_total", "headgate_event_loop_lag_seconds"


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """A process at the last look; figures are None where they are not known, or do not apply."""

    name: str  # server, supervisor, worker 1
    state: HealthState
    cause: Cause | None  # why it does not serve
    pid: int | None
    started_at: float | None  # epoch seconds
    processor: float | None  # the share of one processor since the look before
    memory: float | None  # resident bytes
    files: float | None  # open descriptors
    most_files: float | None
    loop_lag: float | None  # seconds, p99 since the look before
    connections: float | None  # of clients
    restarts: int
    last_end: str | None  # how the process before it ended
    last_ended_at: float | None


class _Look(NamedTuple):
    """The metrics of a process at a moment, those without labels by name."""

    at: float
    pid: int | None
    samples: dict[str, Sample]

    def number(self, name: str) -> float | None:
        """Return a number; None if it was not reported."""
        return self.samples[name].number if name in self.samples else None


class ProcessRecord:
    """The processes at the last look, in the order of their reports."""

    def __init__(self) -> None:
        self._looks: dict[str, _Look] = {}
        self.views: tuple[ProcessView, ...] = ()

    def update(self, now: float, reports: Sequence[ProcessReport]) -> None:
        """Record the processes that there are now; counters begin anew with another process."""
        looks, views = {}, []
        for it in reports:
            samples = {it.metric.name: it for it in it.numbers or () if not it.values}
            look = looks[it.name] = _Look(now, it.pid, samples)
            before = self._looks.get(it.name, look)
            views.append(_view(it, look, before if before.pid == it.pid else look))
        self._looks, self.views = looks, tuple(views)


def _view(report: ProcessReport, look: _Look, before: _Look) -> ProcessView:
    ended_at = report.restarts.last_ended_at
    if ended_at is not None:  # of the loop's clock, which counts from another moment
        ended_at += look.at - asyncio.get_running_loop().time()
    state = HealthState("good", "running")
    if report.cause is not None:
        state = HealthState("bad", report.cause.sentence)
    return ProcessView(
        name=report.name,
        state=state,
        cause=report.cause,
        pid=report.pid,
        started_at=look.number("process_start_time_seconds"),
        processor=_processor(before, look),
        memory=look.number("process_resident_memory_bytes"),
        files=look.number("process_open_fds"),
        most_files=look.number("process_max_fds"),
        loop_lag=_loop_lag(before, look),
        connections=look.number("headgate_connections"),
        restarts=report.restarts.total,
        last_end=report.restarts.last_end,
        last_ended_at=ended_at,
    )


def _processor(before: _Look, look: _Look) -> float | None:
    used_before, used = before.number(CPU), look.number(CPU)
    if used_before is None or used is None or look.at <= before.at:
        return None
    return max(used - used_before, 0.0) / (look.at - before.at)


def _loop_lag(before: _Look, look: _Look) -> float | None:
    sample_before, sample = before.samples.get(LAG), look.samples.get(LAG)
    if sample_before is None or sample is None or look.at <= before.at:
        return None
    counts_before, counts = (
        () if it.distribution is None else it.distribution.counts for it in (sample_before, sample)
    )
    grown = [b - a for a, b in zip(counts_before, counts, strict=True)]
    return metrics.quantile(grown, sample.metric.bounds, 0.99)
