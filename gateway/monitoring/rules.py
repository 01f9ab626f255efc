"""The rules for Prometheus: recordings, and alerts with their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.monitoring.parts import Part


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """An expression recorded under a name of the form LEVEL:METRIC:OPERATION."""

    record: str
    expr: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, which fires when its expression has had a result for as long as `lasting`.

    `critical` alerts wake somebody: readers or writers are not served, or data are lost.
    """

    name: str
    expr: str
    lasting: str
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    part: Part | None = None
