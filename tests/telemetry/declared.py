"""Every metric that a module of the gateway declares."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

import headgate_gateway
from headgate_gateway.telemetry.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator


def _declared() -> Iterator[Metric]:
    for found in pkgutil.walk_packages(headgate_gateway.__path__, "headgate_gateway."):
        if not found.name.endswith("__main__"):
            for value in vars(import_module(found.name)).values():
                if isinstance(value, dict):
                    value = (*value.keys(), *value.values())
                for one in value if isinstance(value, tuple) else (value,):
                    if isinstance(one, Metric):
                        yield one


# A metric that is imported is the same object as where it is declared.
DECLARED = tuple({id(metric): metric for metric in _declared()}.values())
