"""Metrics: numbers with a name, a kind and a help; snapshots of them add up.

Code that serves requests counts in plain integers, which a snapshot reads for a scrape.
"""

from __future__ import annotations

import os
import platform
import re
import resource
from bisect import bisect_left
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from headgate_gateway.telemetry.event_journal import JOURNAL
from headgate_gateway.telemetry.log_output import lines_dropped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


class Metric(msgspec.Struct, frozen=True):
    """A metric as Prometheus knows it, and what several processes together have of it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    together: Literal["sum", "min", "max"] = "sum"
    bounds: tuple[float, ...] = ()  # of a histogram's buckets, upper and inclusive, rising


class Exemplar(msgspec.Struct, frozen=True):
    """An observation with the id of its trace: OpenMetrics' exemplar."""

    trace_id: str
    value: float


class Distribution(msgspec.Struct, frozen=True):
    """A histogram's observations: how many a bucket, of which the last is above all bounds.

    `traced` has the newest traced observation of each bucket that has one, by its index.
    """

    counts: tuple[int, ...]
    sum: float
    traced: dict[int, Exemplar] = {}

    def __add__(self, other: Distribution) -> Distribution:
        """Return the sum of both, bucket by bucket."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Distribution(counts, self.sum + other.sum, self.traced | other.traced)


class Sample(msgspec.Struct, frozen=True):
    """A number, or a distribution, with a value for each label of its metric."""

    metric: Metric
    values: tuple[str, ...]
    number: float = 0.0
    distribution: Distribution | None = None


class Histogram:
    """Observations as they are counted: one bisection and two additions each."""

    __slots__ = ("bounds", "counts", "sum", "traced")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.traced: dict[int, Exemplar] = {}

    def observe(self, value: float, times: int = 1, trace_id: str | None = None) -> None:
        """Count an observation, as often as it was made."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += times
        self.sum += value * times
        if trace_id is not None:
            self.traced[bucket] = Exemplar(trace_id, value)

    def observe_since(self, moments: Sequence[float], now: float) -> None:
        """Count how long it is since each of these moments, at least one, the longest first.

        Search the moments for each bound: there are fewer bounds than moments.
        """
        remaining = len(moments)
        bucket = bisect_left(self.bounds, now - moments[-1])
        longest = bisect_left(self.bounds, now - moments[0])
        while bucket < longest:
            before = bisect_left(moments, now - self.bounds[bucket])
            self.counts[bucket] += remaining - before
            remaining = before
            bucket += 1
        self.counts[longest] += remaining
        self.sum += now * len(moments) - sum(moments)

    def distribution(self) -> Distribution:
        """Return the observations so far."""
        return Distribution(tuple(self.counts), self.sum, dict(self.traced))


T = TypeVar("T")
Snapshot = tuple[Sample, ...]
_COMBINE: dict[str, Callable[[float, float], float]] = {
    "sum": lambda a, b: a + b,
    "min": min,
    "max": max,
}


def counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """Declare a metric that only grows."""
    return Metric(name, "counter", help, labels)


def gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """Declare a metric that goes up and down."""
    return Metric(name, "gauge", help, labels)


def histogram(name: str, help: str, *labels: str, bounds: tuple[float, ...]) -> Metric:  # noqa: A002 - Prometheus' word
    """Declare a metric whose observations are counted by size."""
    return Metric(name, "histogram", help, labels, bounds=bounds)


def least(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """Declare a gauge of which the lowest counts: 1 only when every process says so."""
    return Metric(name, "gauge", help, labels, "min")


def most(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """Declare a gauge of which the highest counts: as bad as it is for any process."""
    return Metric(name, "gauge", help, labels, "max")


BUILD = gauge(
    "headgate_build_info",
    "Always 1; the labels name the versions of Headgate and Python.",
    "version",
    "python",
)
WORKERS = gauge("headgate_workers", "Processes that should serve the streams.")
SILENT = gauge(
    "headgate_workers_silent", "Workers that did not answer this scrape; their gauges are left out."
)
RESTARTS = counter("headgate_worker_restarts_total", "Workers that ended and were replaced.")
FRONT_RESTARTS = counter(
    "headgate_front_restarts_total", "Caddy processes of the front that ended and were replaced."
)
HANGS = counter("headgate_worker_hangs_total", "Workers that hung and were killed.")
OF_PROCESSES = (
    counter("process_cpu_seconds_total", "User and system CPU time."),
    gauge("process_resident_memory_bytes", "Resident memory."),
    counter(
        "headgate_log_lines_dropped_total",
        "Log lines that were dropped because they could not be written.",
    ),
    counter(
        "headgate_events_dropped_total",
        "Events that were dropped because the console did not take them in time.",
    ),
    gauge("process_open_fds", "Open file descriptors."),
    gauge("process_max_fds", "Limit of open file descriptors."),
    least("process_start_time_seconds", "Start time of the first process, in epoch seconds."),
)


def of_all(
    *,
    workers: int = 1,
    silent: int = 0,
    restarts: int = 0,
    hangs: int = 0,
    front_restarts: int = 0,
) -> Snapshot:
    """Return the metrics of the whole gateway, however many processes it has."""
    return (
        Sample(WORKERS, (), workers),
        Sample(SILENT, (), silent),
        Sample(RESTARTS, (), restarts),
        Sample(HANGS, (), hangs),
        Sample(FRONT_RESTARTS, (), front_restarts),
    )


@cache  # it is read from a file
def build() -> Sample:
    """Return the version sample, which is for scrapes alone: no page needs it."""
    from importlib.metadata import version  # 2 MB, with zip files and messages of e-mail

    return Sample(BUILD, (version("headgate"), platform.python_version()), 1)


def of_this_process() -> Snapshot:
    """Measure processor time, memory and files, where the system has them."""
    try:
        # Those after the name of the program, which may have blanks in it (proc_pid_stat(5)).
        stat = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
        # Since Linux 6.2 their number is the size of the folder. To list 10,000 takes 8 ms.
        files = Path("/proc/self/fd").stat().st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return ()
    ticks = os.sysconf("SC_CLK_TCK")
    values = {
        "headgate_log_lines_dropped_total": lines_dropped(),
        "headgate_events_dropped_total": JOURNAL.dropped,
        "process_cpu_seconds_total": (int(stat[11]) + int(stat[12])) / ticks,
        "process_resident_memory_bytes": int(stat[21]) * os.sysconf("SC_PAGESIZE"),
        "process_open_fds": files,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "process_start_time_seconds": int(booted[1] if booted else 0) + int(stat[19]) / ticks,
    }
    return tuple(Sample(metric, (), values[metric.name]) for metric in OF_PROCESSES)


def read(
    metrics: Mapping[Metric, Callable[[T], float]], owner: T, *values: str
) -> Iterator[Sample]:
    """Yield the present numbers of `owner`, with these values for the labels."""
    for metric, number_of in metrics.items():
        yield Sample(metric, values, float(number_of(owner)))


def observed(metric: Metric, histogram: Histogram, *values: str) -> Sample:
    """Return a histogram as a sample, with these values for the labels."""
    return Sample(metric, values, distribution=histogram.distribution())


def together(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Merge snapshots: numbers of the same metric and labels become one."""
    found: dict[tuple[Metric, tuple[str, ...]], Sample] = {}
    for snapshot in snapshots:
        for sample in snapshot:
            key = (sample.metric, sample.values)
            found[key] = _both(found[key], sample) if key in found else sample
    return tuple(found.values())


def _both(one: Sample, other: Sample) -> Sample:
    metric = one.metric
    if one.distribution is not None and other.distribution is not None:
        return Sample(metric, one.values, distribution=one.distribution + other.distribution)
    return Sample(metric, one.values, _COMBINE[metric.together](one.number, other.number))


def quantile(counts: Sequence[float], bounds: Sequence[float], quantile: float) -> float | None:
    """Return a quantile from the counts of buckets, as Prometheus' histogram_quantile does.

    `bounds` are the buckets' upper bounds; it is None if nothing was counted.
    """
    rank = quantile * sum(counts)
    if not rank:
        return None
    below = 0.0
    for index, bound in enumerate(bounds):
        if counts[index] and below + counts[index] >= rank:
            least = bounds[index - 1] if index else 0.0
            return least + (bound - least) * (rank - below) / counts[index]
        below += counts[index]
    return float(bounds[-1])


def counters(snapshot: Snapshot) -> Snapshot:
    """Return the counters and histograms, which go on when their process is gone."""
    return tuple(sample for sample in snapshot if sample.metric.kind != "gauge")
