"""What a rule of Prometheus is here: a recording, or an alert with what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.monitoring.parts import Part


@dataclass(frozen=True, slots=True)
class Recording:
    """An expression that is kept under a name; LEVEL:METRIC:OPERATION, as Prometheus advises."""

    record: str
    expr: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An expression that is to be empty; `lasting` is how long it may be otherwise.

    `critical` is for somebody to be woken: readers or writers are not served, or data are lost.
    """

    name: str
    expr: str
    lasting: str
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    part: Part | None = None
