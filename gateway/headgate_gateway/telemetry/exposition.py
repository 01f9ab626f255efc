"""A snapshot as prometheus_client shows it. It is imported with the first scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.telemetry.metrics import Distribution, Metric, Snapshot

_Family = HistogramMetricFamily | CounterMetricFamily | GaugeMetricFamily
_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


# The versions of each format that prometheus_client writes; without one, the scraper takes any.
_VERSIONS = {"application/openmetrics-text": ("", "1.0.0"), "text/plain": ("", "0.0.4", "1.0.0")}


def preferred(accept: str) -> str:
    """Return the one media range of an Accept field by which the metrics are written.

    That is the known one with the highest weight, of equal ones the first (RFC 9110, section
    12.5.1); "" if there is none. prometheus_client itself takes the first, whatever its weight.
    """
    best, most = "", 0.0
    for written in accept.lower().split(","):
        name, *parameters = (part.strip() for part in written.split(";"))
        values = dict(part.partition("=")[::2] for part in parameters)
        try:
            weight = float(values.pop("q", "1"))
        except ValueError:
            continue
        if values.get("version", "").strip('"') in _VERSIONS.get(name, ()) and weight > most:
            best = ";".join((name, *(f"{key}={value}" for key, value in values.items())))
            most = weight
    return best


class _Snapshot(Collector):
    """A snapshot as prometheus_client collects it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @override
    def collect(self) -> Iterator[_Family]:
        """Yield each metric with all its samples."""
        families: dict[Metric, _Family] = {}
        for sample in self._snapshot:
            family = families.get(sample.metric)
            if family is None:
                family = families[sample.metric] = _family(sample.metric)
            if isinstance(family, HistogramMetricFamily):
                assert sample.distribution is not None, "a histogram's sample is a distribution"
                buckets = _buckets(sample.metric, sample.distribution)
                family.add_metric(sample.values, buckets, sample.distribution.sum)
            else:
                family.add_metric(sample.values, sample.number)
        yield from families.values()


def _family(metric: Metric) -> _Family:
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def _buckets(metric: Metric, distribution: Distribution) -> list[_Bucket]:
    """Return the buckets cumulatively, as Prometheus counts them."""
    buckets: list[_Bucket] = []
    below = 0
    for index, count in enumerate(distribution.counts):
        below += count
        bound = str(float(metric.bounds[index])) if index < len(metric.bounds) else "+Inf"
        traced = distribution.traced.get(index)
        if traced is None:
            buckets.append((bound, below))
        else:
            exemplar = Exemplar({"trace_id": traced.trace_id}, traced.value)
            buckets.append((bound, below, exemplar))
    return buckets


def registry(snapshot: Snapshot) -> CollectorRegistry:
    """Return a snapshot as a registry, which prometheus_client shows in each of its formats."""
    collectors = CollectorRegistry()
    collectors.register(_Snapshot(snapshot))
    return collectors
