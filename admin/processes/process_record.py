"""The record of each process of the gateway: what it uses, and how often it was replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from admin.model.gateways import ProcessView
from admin.model.kinds import HealthState
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.features.questions.process_source import ProcessReport
    from gateway.telemetry.metrics import Distribution, Sample

LAG = "headgate_event_loop_lag_seconds"


class ProcessUsage:
    """The usage of one process, and of those that were in its place before."""

    def __init__(self) -> None:
        self.view: ProcessView | None = None
        self._looked_at: float | None = None
        self._pid: int | None = None
        self._cpu_s: float | None = None
        self._lag: Distribution | None = None

    def update(self, now: float, report: ProcessReport) -> None:
        """Take what a report says at `now`; counters begin anew with another process."""
        samples = {it.metric.name: it for it in report.numbers or () if not it.values}
        cpu_s, lag = _number(samples, "process_cpu_seconds_total"), samples.get(LAG)
        seconds = None
        if self._looked_at is not None and report.pid == self._pid:
            seconds = now - self._looked_at
        processor = _rate(self._cpu_s, cpu_s, seconds)
        loop_lag = None if seconds is None else _p99(self._lag, lag)
        self._looked_at = None if report.numbers is None else now
        self._pid, self._cpu_s = report.pid, cpu_s
        self._lag = None if lag is None else lag.distribution
        self.view = _view(report, processor, loop_lag, samples, now)


class ProcessRecord:
    """The usage of all processes of the gateway, by their names, in the order of the reports."""

    def __init__(self) -> None:
        self._processes: dict[str, ProcessUsage] = {}

    def update(self, now: float, reports: Iterable[ProcessReport]) -> None:
        """Record the processes that there are now, and drop the others."""
        before, self._processes = self._processes, {}
        for report in reports:
            self._processes[report.name] = usage = before.get(report.name) or ProcessUsage()
            usage.update(now, report)

    @property
    def views(self) -> tuple[ProcessView, ...]:
        """The processes at the last look."""
        return tuple(it.view for it in self._processes.values() if it.view is not None)


def _view(
    report: ProcessReport,
    processor: float | None,
    loop_lag: float | None,
    samples: dict[str, Sample],
    now: float,
) -> ProcessView:
    ended_at = report.restarts.last_ended_at
    if ended_at is not None:  # of the loop's clock, which counts from another moment
        ended_at += now - asyncio.get_running_loop().time()
    state = HealthState("good", "running")
    if report.problem is not None:
        state = HealthState("bad", report.problem)
    return ProcessView(
        name=report.name,
        state=state,
        pid=report.pid,
        started_at=_number(samples, "process_start_time_seconds"),
        processor=processor,
        memory=_number(samples, "process_resident_memory_bytes"),
        files=_number(samples, "process_open_fds"),
        most_files=_number(samples, "process_max_fds"),
        loop_lag=loop_lag,
        connections=_number(samples, "headgate_connections"),
        restarts=report.restarts.total,
        last_end=report.restarts.last_end,
        last_ended_at=ended_at,
    )


def _number(samples: dict[str, Sample], name: str) -> float | None:
    return samples[name].number if name in samples else None


def _rate(before: float | None, now: float | None, seconds: float | None) -> float | None:
    if before is None or now is None or not seconds or seconds < 0:
        return None
    return max(now - before, 0.0) / seconds


def _p99(before: Distribution | None, now: Sample | None) -> float | None:
    if before is None or now is None or now.distribution is None:
        return None
    counts = [b - a for a, b in zip(before.counts, now.distribution.counts, strict=True)]
    return metrics.quantile(counts, now.metric.bounds, 0.99)
