"""The alert rules of a gateway, and the states of those that its console evaluates."""

from __future__ import annotations

from typing import Literal

import msgspec

AlertState = Literal["quiet", "pending", "firing", "prometheus"]


class AlertView(msgspec.Struct, frozen=True):
    """An alert for one set of labels: pending, or firing once it has held for long enough."""

    labels: dict[str, str]
    state: AlertState
    since: float  # from which moment on the condition has held without a break
    sentence: str


class AlertRuleView(msgspec.Struct, frozen=True):
    """A rule, and its alerts: the state is that of the worst."""

    name: str
    severity: Literal["warning", "critical"]
    state: AlertState  # `prometheus` where only Prometheus evaluates the rule
    lasting_s: int
    description: str
    expression: str  # of PromQL
    anchor: str  # the fragment at `/alerts` that says what to do
    alerts: tuple[AlertView, ...]


class AlertsView(msgspec.Struct, frozen=True):
    """All rules that fit the settings, the worst first."""

    looked_at: float | None  # None before the first look
    rules: tuple[AlertRuleView, ...]
