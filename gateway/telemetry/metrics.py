"""What is measured: a number with its name, kind and help; snapshots of them add up."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Metric(msgspec.Struct, frozen=True):
    """A metric as Prometheus knows it, and what several processes together have of it."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    together: Literal["sum", "min"] = "sum"


class Sample(msgspec.Struct, frozen=True):
    """One number, with a value for each label of its metric."""

    metric: Metric
    values: tuple[str, ...]
    number: float


T = TypeVar("T")
Snapshot = tuple[Sample, ...]
_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": lambda a, b: a + b, "min": min}


def counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """What only grows."""
    return Metric(name, "counter", help, labels)


def gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """What goes up and down."""
    return Metric(name, "gauge", help, labels)


def least(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' word
    """A gauge of which the lowest counts: 1 only when every process says so."""
    return Metric(name, "gauge", help, labels, "min")


BUILD = gauge("headgate_build_info", "1, with what runs here.", "version", "python")
WORKERS = gauge("headgate_workers", "Processes that are to serve the streams.")
SILENT = gauge("headgate_workers_silent", "Workers that did not answer, their gauges left out.")
RESTARTS = counter("headgate_worker_restarts_total", "Workers that ended and were replaced.")
HANGS = counter("headgate_worker_hangs_total", "Of these, workers that hung and were killed.")
OF_PROCESSES = (
    counter("process_cpu_seconds_total", "User and system CPU time."),
    gauge("process_resident_memory_bytes", "Resident memory."),
    gauge("process_open_fds", "Open file descriptors."),
    least("process_start_time_seconds", "When the first process started, in epoch seconds."),
)


def of_all(*, workers: int = 1, silent: int = 0, restarts: int = 0, hangs: int = 0) -> Snapshot:
    """What is told once, however many processes there are."""
    return (
        Sample(BUILD, (version("headgate"), platform.python_version()), 1),
        Sample(WORKERS, (), workers),
        Sample(SILENT, (), silent),
        Sample(RESTARTS, (), restarts),
        Sample(HANGS, (), hangs),
    )


def of_this_process() -> Snapshot:
    """CPU, memory and files, where the system tells them."""
    families = ProcessCollector(registry=None).collect()
    told = {sample.name: sample.value for family in families for sample in family.samples}
    return tuple(
        Sample(metric, (), told[metric.name]) for metric in OF_PROCESSES if metric.name in told
    )


def read(
    metrics: Mapping[Metric, Callable[[T], float]], owner: T, *values: str
) -> Iterator[Sample]:
    """The numbers of one owner as they are now, with these values for the labels."""
    for metric, number_of in metrics.items():
        yield Sample(metric, values, float(number_of(owner)))


def together(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of many: numbers of the same metric and labels become one."""
    numbers: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for snapshot in snapshots:
        for metric, values, number in ((one.metric, one.values, one.number) for one in snapshot):
            key = (metric, values)
            combine = _COMBINE[metric.together]
            numbers[key] = combine(numbers[key], number) if key in numbers else number
    return tuple(Sample(metric, values, number) for (metric, values), number in numbers.items())


def counters(snapshot: Snapshot) -> Snapshot:
    """What must not be forgotten when its process is gone."""
    return tuple(sample for sample in snapshot if sample.metric.kind == "counter")


class _Snapshot(Collector):
    """A snapshot as prometheus_client collects it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Each metric with all its samples."""
        families: dict[Metric, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._snapshot:
            metric = sample.metric
            if metric not in families:
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                families[metric] = kind(metric.name, metric.help, labels=metric.labels)
            families[metric].add_metric(sample.values, sample.number)
        yield from families.values()


def registry(snapshot: Snapshot) -> CollectorRegistry:
    """A snapshot as something that prometheus_client can show in each of its formats."""
    shown = CollectorRegistry()
    shown.register(_Snapshot(snapshot))
    return shown
