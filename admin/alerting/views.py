"""The views of all alert rules, for the page of alerts and the API."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from admin.alerting.sentences import FORMATS, filled, value_format
from admin.model.alerts import AlertRuleView, AlertsView, AlertView
from gateway.monitoring.quantities import (
    CertificateShare,
    OutsideCondition,
    main_threshold,
    parts_of,
    promql,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from admin.alerting.evaluation import Values
    from admin.alerting.evaluator import AlertEvaluator
    from admin.alerting.states import ActiveAlert
    from admin.model.alerts import AlertState
    from gateway.monitoring.quantities import Threshold
    from gateway.monitoring.rules import Alert

ORDER: dict[AlertState, int] = {"firing": 0, "pending": 1, "unknown": 2, "quiet": 3}
OF_ONE_GATEWAY = "Evaluated here for this gateway alone; Prometheus adds up all gateways."
WORDS = {"==": "is", ">=": "≥"}
THIS_GATEWAY = "this gateway"


def alerts_view(evaluator: AlertEvaluator) -> AlertsView:
    """Return all rules with their states."""
    active: dict[str, list[ActiveAlert]] = {}
    for alert in evaluator.states.active.values():
        active.setdefault(alert.rule.name, []).append(alert)
    rules = [
        _rule(rule, active.get(rule.name, []), evaluator.values.get(rule.name, {}))
        for rule in evaluator.rules
    ]
    rules.sort(key=lambda rule: (ORDER[rule.state], rule.severity))
    return AlertsView(evaluator.states.updated_at, tuple(rules))


def sentence(alert: ActiveAlert) -> str:
    """Return the summary of an alert, in the words that Prometheus sends."""
    labels = {**dict(alert.labels), "instance": THIS_GATEWAY}
    text = filled(alert.rule.summary, labels, alert.value)
    return text[:1].upper() + text[1:]


def state_of(alert: ActiveAlert) -> AlertState:
    """Return whether an active alert is pending or firing."""
    return "pending" if alert.firing_at is None else "firing"


def _rule(rule: Alert, active: Iterable[ActiveAlert], values: Values) -> AlertRuleView:
    threshold = main_threshold(rule.condition)
    shown = FORMATS[value_format(rule.summary)]
    views = tuple(
        AlertView(
            labels=dict(alert.labels),
            state=state_of(alert),
            since=alert.active_at,
            firing_since=alert.firing_at,
            value=alert.value if isfinite(alert.value) else None,
            shown_value=shown(alert.value),
            sentence=sentence(alert),
        )
        for alert in sorted(active, key=lambda it: (it.firing_at is None, it.labels))
    )
    value = views[0].value if views else _nearest(threshold, values)
    return AlertRuleView(
        name=rule.name,
        severity=rule.severity,
        state=_state(rule, views),
        value=value,
        shown_value="" if value is None else shown(value),
        threshold=""
        if threshold is None
        else f"{WORDS.get(threshold.operator, threshold.operator)} {_bound(rule, threshold)}",
        lasting_s=seconds(rule.lasting),
        description=rule.description,
        expression=rule.expr,
        runbook=f"/alerts#{rule.anchor}",
        scope=_scope(rule),
        alerts=views,
    )


def _state(rule: Alert, views: tuple[AlertView, ...]) -> AlertState:
    if isinstance(rule.condition, OutsideCondition):
        return "unknown"
    return min((view.state for view in views), key=ORDER.__getitem__, default="quiet")


def _scope(rule: Alert) -> str:
    if isinstance(rule.condition, OutsideCondition):
        return f"Only Prometheus can evaluate this: {rule.condition.reason}."
    by = [text for it in parts_of(rule.condition) if isinstance(text := getattr(it, "by", ""), str)]
    return OF_ONE_GATEWAY if any(text and "instance" not in text for text in by) else ""


def _bound(rule: Alert, threshold: Threshold) -> str:
    if isinstance(threshold.bound, CertificateShare):
        return promql(threshold.bound)
    return FORMATS[value_format(rule.summary)](threshold.bound)


def _nearest(threshold: Threshold | None, values: Values) -> float | None:
    """Return the value that is nearest to a threshold, of those that are not beyond it."""
    finite = [value for value in values.values() if isfinite(value)]
    if threshold is None or not finite:
        return None
    return max(finite) if threshold.operator in {">", ">="} else min(finite)
