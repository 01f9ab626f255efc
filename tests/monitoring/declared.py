"""The metrics that the code declares, wherever it does."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import gateway
from gateway.telemetry.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator


def metrics() -> dict[str, Metric]:
    """By name: those that a module of the gateway has as values or in a collection."""
    found: dict[str, Metric] = {}
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                found.update((metric.name, metric) for metric in _in(value))
    return found


def _in(value: object) -> Iterator[Metric]:
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, dict):
        yield from _in([*value, *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (item for item in value if isinstance(item, Metric))


def series(metric: Metric) -> set[str]:
    """The names under which Prometheus has it."""
    if metric.kind == "histogram":
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


def labels(metric: Metric) -> set[str]:
    """All that its series have, with those of the target."""
    of_buckets = {"le"} if metric.kind == "histogram" else set()
    return {*metric.labels, "job", "instance"} | of_buckets
