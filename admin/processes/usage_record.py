"""Record of the use of machines: by the processes here, and by other gateways."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from admin.errors import NotTold
from admin.model.kinds import POINTS, SPANS_S
from admin.model.processes import ProcessesView
from admin.processes.gateway_record import GatewayRecord, report_on
from admin.processes.process_record import ProcessRecord
from admin.processes.usage import charts
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from admin.model.kinds import HealthState, Span
    from admin.processes.gateway_record import GatewayReport
    from gateway.features.questions.process_source import ProcessReport

STEP_S = SPANS_S["15m"] // POINTS  # as the recorder looks


class UsageRecord:
    """The record of the processes of this gateway, and of the gateways that share a log."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns epoch seconds."""
        self._clock = clock
        self._looked_at = 0.0
        self.processes = ProcessRecord()
        self.gateways = GatewayRecord()

    @cached_property
    def _version(self) -> str:
        return metrics.build().values[0]

    def update(self, now: float, reports: Sequence[ProcessReport]) -> None:
        """Record what the processes of this gateway use."""
        self.processes.update(now, reports)
        self._looked_at = now

    def report(self, name: str, state: HealthState, *, stops: bool) -> GatewayReport:
        """Return the report for the other gateways, and record it beside theirs."""
        report = report_on(name, self._version, state, self.processes.views, stops=stops)
        self.gateways.update_own(self._looked_at, report)
        return report

    def view(self, span: Span = "15m") -> ProcessesView:
        """Return all of it, with charts that end at the last look, or now if it is long ago.

        Raises NotTold for an unknown span.
        """
        if span not in SPANS_S:
            raise NotTold(400, f"span must be one of {', '.join(SPANS_S)}")
        now = self._clock()
        until = now if now - self._looked_at > 2 * STEP_S else self._looked_at
        return ProcessesView(
            taken_at=now,
            span=span,
            version=self._version,
            processes=self.processes.views,
            charts=charts(self.processes.histories, span, until),
            gateways=self.gateways.views,
            gateway_charts=charts(self.gateways.histories, span, until),
        )
