"""The sentences of alerts, and all rules with their states for the console's pages and API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate_gateway.monitoring.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_admin.alerting.active_alerts import ActiveAlert, ActiveAlerts
    from headgate_gateway.monitoring.rules import Alert

AlertState = Literal["quiet", "pending", "firing", "prometheus"]
ORDER: dict[AlertState, int] = {"firing": 0, "pending": 1, "quiet": 2, "prometheus": 3}
THIS_GATEWAY = "this gateway"
_FIELD = re.compile(r"\{\{ \$(?:labels\.(\w+)|value(?: \| (\w+))?) \}\}")
# By the functions of Prometheus' templates.
_FORMATS: dict[str | None, Callable[[float], str]] = {
    None: "{:.4g}".format,
    "humanize1024": lambda value: f"{value / (1 << 20):,.1f} Mi",
    "humanizeDuration": lambda value: f"{value:.1f} s" if value < 600 else f"{value / 3600:.1f} h",
    "humanizePercentage": "{:.0%}".format,
}


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


def alerts_view(alerts: ActiveAlerts) -> AlertsView:
    """Return all rules with their states, the worst first."""
    unwatched = alerts.unwatched
    rules = [
        _rule(
            rule,
            [it for it in alerts.active if it.rule == rule],
            "prometheus" if rule in unwatched else "quiet",
        )
        for rule in alerts.rules
    ]
    rules.sort(key=lambda rule: (ORDER[rule.state], rule.severity))
    return AlertsView(alerts.looked_at, tuple(rules))


def sentence(alert: ActiveAlert, summary: str = "") -> str:
    """Return the summary of an alert, or another one, with its labels and its value."""
    labels = {**dict(alert.labels), "instance": THIS_GATEWAY}

    def field(found: re.Match[str]) -> str:
        label, function = found.groups()
        if label:
            return labels.get(label, "")
        return _FORMATS[function](alert.value)

    text = _FIELD.sub(field, summary or alert.rule.summary)
    return text[:1].upper() + text[1:]


def state_of(alert: ActiveAlert) -> AlertState:
    """Return whether an active alert is pending or firing."""
    return "firing" if alert.is_firing else "pending"


def _rule(rule: Alert, active: list[ActiveAlert], quiet: AlertState) -> AlertRuleView:
    views = tuple(
        AlertView(dict(alert.labels), state_of(alert), alert.since, sentence(alert))
        for alert in sorted(active, key=lambda it: (not it.is_firing, it.labels))
    )
    return AlertRuleView(
        name=rule.name,
        severity=rule.severity,
        state=views[0].state if views else quiet,
        lasting_s=seconds(rule.lasting),
        description=rule.description,
        expression=rule.expr,
        anchor=rule.anchor,
        alerts=views,
    )
