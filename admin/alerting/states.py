"""The states of alerts: pending while a condition holds, firing once it has held long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.monitoring.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from admin.alerting.evaluation import Values
    from admin.alerting.series import Labels
    from gateway.monitoring.rules import Alert

# Prometheus takes a sample for the present one for as long. After a longer gap between two looks
# nothing is known of the time between, and what holds begins anew.
LOOKBACK_S = 300.0


class ActiveAlert(NamedTuple):
    """An alert for one set of labels, whose condition has held since `active_at`."""

    rule: Alert
    labels: Labels
    value: float
    active_at: float
    firing_at: float | None = None

    @property
    def key(self) -> tuple[str, Labels]:
        """The identity of the alert as long as it is active."""
        return self.rule.name, self.labels


class AlertChanges(NamedTuple):
    """The alerts that have begun firing, and those that are over."""

    fired: tuple[ActiveAlert, ...]
    resolved: tuple[ActiveAlert, ...]


class AlertStates:
    """The active alerts of all rules."""

    def __init__(self) -> None:
        self.active: dict[tuple[str, Labels], ActiveAlert] = {}
        self.updated_at: float | None = None

    def update(self, now: float, found: Iterable[tuple[Alert, Values]]) -> AlertChanges:
        """Take the results of all rules at a moment; return what has begun and ended with it."""
        is_gap = self.updated_at is not None and now - self.updated_at > LOOKBACK_S
        before = {} if is_gap else self.active
        present: dict[tuple[str, Labels], ActiveAlert] = {}
        fired = []
        for rule, values in found:
            lasting_s = seconds(rule.lasting)
            for labels, value in values.items():
                known = before.get((rule.name, labels))
                alert = ActiveAlert(rule, labels, value, now if known is None else known.active_at)
                if known is not None and known.firing_at is not None:
                    alert = alert._replace(firing_at=known.firing_at)
                elif now - alert.active_at >= lasting_s:
                    alert = alert._replace(firing_at=now)
                    fired.append(alert)
                present[alert.key] = alert
        was_firing = (it for it in self.active.values() if it.firing_at is not None)
        resolved = [it for it in was_firing if not _is_firing(present.get(it.key))]
        self.active = present
        self.updated_at = now
        return AlertChanges(tuple(fired), tuple(resolved))


def _is_firing(alert: ActiveAlert | None) -> bool:
    return alert is not None and alert.firing_at is not None
