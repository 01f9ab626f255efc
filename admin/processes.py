"""The record of each process of the gateway: what it has used in the last quarter of an hour."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from admin.model.charts import Chart, Line
from admin.model.kinds import HealthState
from admin.model.processes import ProcessesView, ProcessView
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from admin.source import ProcessReport
    from gateway.telemetry.metrics import Distribution, Sample

STEP_S = 5  # as the recorder looks
POINTS = 180  # 15 minutes: some 30 kB a process, of which there are as many as `workers`
LAG = "headgate_event_loop_lag_seconds"


class ProcessFigures(NamedTuple):
    """The figures of a process at a moment; None for what is not known."""

    slot: int  # epoch seconds divided by STEP_S
    processor: float | None = None
    memory: float | None = None
    files: float | None = None
    most_files: float | None = None
    loop_lag: float | None = None
    connections: float | None = None
    started_at: float | None = None


class ProcessHistory:
    """The figures of one process, and of those that were in its place before."""

    def __init__(self) -> None:
        self.points: deque[ProcessFigures] = deque(maxlen=POINTS)
        self._looked_at: float | None = None
        self._pid: int | None = None
        self._cpu_s: float | None = None
        self._lag: Distribution | None = None

    def update(self, now: float, report: ProcessReport) -> None:
        """Add what a report says at `now`; counters begin anew with another process."""
        slot = int(now // STEP_S)
        if report.numbers is None:
            self._looked_at = None
            self.points.append(ProcessFigures(slot))
            return
        samples = {it.metric.name: it for it in report.numbers if not it.values}
        cpu_s, lag = _number(samples, "process_cpu_seconds_total"), samples.get(LAG)
        seconds = None
        if self._looked_at is not None and report.pid == self._pid:
            seconds = now - self._looked_at
        self.points.append(
            ProcessFigures(
                slot,
                _rate(self._cpu_s, cpu_s, seconds),
                _number(samples, "process_resident_memory_bytes"),
                _number(samples, "process_open_fds"),
                _number(samples, "process_max_fds"),
                None if seconds is None else _p99(self._lag, lag),
                _number(samples, "headgate_connections"),
                _number(samples, "process_start_time_seconds"),
            )
        )
        self._looked_at, self._pid, self._cpu_s = now, report.pid, cpu_s
        self._lag = None if lag is None else lag.distribution


class ProcessRecord:
    """The histories of all processes of the gateway, by their names."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns epoch seconds."""
        self._clock = clock
        self._looked_at = 0.0
        self._histories: dict[str, ProcessHistory] = {}
        self._reports: Sequence[ProcessReport] = ()

    def update(self, now: float, reports: Sequence[ProcessReport]) -> None:
        """Record the processes that there are now, and drop the histories of others."""
        self._histories = {
            it.name: self._histories.get(it.name) or ProcessHistory() for it in reports
        }
        for report in reports:
            self._histories[report.name].update(now, report)
        self._reports = tuple(reports)
        self._looked_at = now

    def view(self) -> ProcessesView:
        """Return all processes, with charts that end at the last look, or now if it is long ago."""
        now = self._clock()
        is_late = now - self._looked_at > 2 * STEP_S
        last = int((now if is_late else self._looked_at) // STEP_S)
        version, _ = metrics.build().values

        def chart(figure: Callable[[ProcessFigures], float | None]) -> Chart:
            lines = []
            for name, history in self._histories.items():
                values = {point.slot: figure(point) for point in history.points}
                if any(value is not None for value in values.values()):
                    slots = range(last - POINTS + 1, last + 1)
                    lines.append(Line(name, tuple(values.get(slot) for slot in slots)))
            return Chart(float((last - POINTS + 1) * STEP_S), float(STEP_S), tuple(lines))

        return ProcessesView(
            now,
            version,
            tuple(_view(it, self._histories[it.name].points[-1], now) for it in self._reports),
            processor=chart(lambda point: point.processor),
            memory=chart(lambda point: point.memory),
            files=chart(lambda point: point.files),
            loop_lag=chart(lambda point: point.loop_lag),
            connections=chart(lambda point: point.connections),
        )


def _view(report: ProcessReport, newest: ProcessFigures, now: float) -> ProcessView:
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
        started_at=newest.started_at,
        processor=newest.processor,
        memory=newest.memory,
        files=newest.files,
        most_files=newest.most_files,
        loop_lag=newest.loop_lag,
        connections=newest.connections,
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
