"""The alerts of a gateway, as its console evaluates them."""

from __future__ import annotations

from typing import Literal

import msgspec

AlertState = Literal["quiet", "pending", "firing", "unknown"]


class AlertView(msgspec.Struct, frozen=True):
    """An alert for one set of labels: pending, or firing since `firing_since`."""

    labels: dict[str, str]
    state: AlertState
    since: float  # from which moment on the condition has held without a break
    firing_since: float | None
    value: float | None
    shown_value: str
    sentence: str


class AlertRuleView(msgspec.Struct, frozen=True):
    """A rule, and its alerts: the state is that of the worst."""

    name: str
    severity: Literal["warning", "critical"]
    state: AlertState  # unknown where a gateway cannot see it by itself
    value: float | None  # of its alerts, or else the one that is nearest to the threshold
    shown_value: str
    threshold: str
    lasting_s: int
    description: str
    expression: str  # of PromQL
    runbook: str  # the path of the section that says what to do
    scope: str  # how the evaluation differs from that of Prometheus; empty if it does not
    alerts: tuple[AlertView, ...]


class AlertsView(msgspec.Struct, frozen=True):
    """All rules that fit the settings, the worst first."""

    looked_at: float | None  # None before the first look
    rules: tuple[AlertRuleView, ...]
