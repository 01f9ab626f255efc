"""The rules: recordings, and alerts with their conditions and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.monitoring.parts import Part
    from gateway.monitoring.quantities import Condition, Quantity


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """An expression recorded under a name of the form LEVEL:METRIC:OPERATION."""

    record: str
    expr: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, which fires when its condition has had a result for as long as `lasting`.

    `critical` alerts wake somebody: readers or writers are not served, or data are lost.
    """

    name: str
    condition: Condition
    lasting: str
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    part: Part | None = None
    # The name of the health check or note about the same, with labels in braces: one item together.
    check: str | None = None
    # Of active alerts with the same subject and labels, the console shows the most severe alone.
    subject: str = ""

    @property
    def expr(self) -> str:
        """The condition as Prometheus evaluates it."""
        return self.condition.promql

    @property
    def anchor(self) -> str:
        """The fragment of the section that says what to do."""
        return self.name.lower()


def recording(record: str, quantity: Quantity, part: Part | None = None) -> RecordingRule:
    """Return the recording rule of a quantity."""
    return RecordingRule(record, quantity.promql, part)
