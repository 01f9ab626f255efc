"""The alert rules that the console evaluates: thresholds on gauges and on rates of five minutes.

All other rules are text for Prometheus alone.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gateway.monitoring.alerts import alerts
from gateway.monitoring.quantities import RATE_WINDOW, Rate, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.monitoring.quantities import Threshold
    from gateway.monitoring.rules import Alert
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Sample

Labels: TypeAlias = tuple[tuple[str, str], ...]
Values: TypeAlias = dict[Labels, float]
WINDOW_S = seconds(RATE_WINDOW)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}
_MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')


class ActiveAlert(NamedTuple):
    """An alert for one set of labels, whose condition has held since a moment.

    It is firing once the condition has held for as long as the rule says.
    """

    rule: Alert
    labels: Labels
    value: float
    since: float
    is_firing: bool


class ActiveAlerts:
    """The rules that fit the settings, and the alerts whose conditions hold at the last look."""

    def __init__(self, settings: Settings) -> None:
        self.looked_at: float | None = None
        self.active: tuple[ActiveAlert, ...] = ()
        self._growths: dict[Rate, RecentGrowth] = {}
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Evaluate the rules of these settings from the next look on."""
        self.rules = tuple(alerts(settings))

    def look(self, now: float, samples: Iterable[Sample]) -> None:
        """Evaluate the rules on the metrics of a moment."""
        conditions = {rule: rule.threshold for rule in self.rules if rule.threshold is not None}
        by_metric: dict[str, list[Sample]] = {it.quantity.metric: [] for it in conditions.values()}
        for sample in samples:
            if sample.metric.name in by_metric:
                by_metric[sample.metric.name].append(sample)
        since = {(it.rule.name, it.labels): it.since for it in self.active}
        active = []
        for rule, condition in conditions.items():
            found = by_metric[condition.quantity.metric]
            for labels, value in self._values(condition, now, found).items():
                if _COMPARE[condition.operator](value, condition.bound):
                    # A clock that was set back puts moments before that into the future.
                    began = min(since.get((rule.name, labels), now), now)
                    is_firing = now - began >= seconds(rule.lasting)
                    active.append(ActiveAlert(rule, labels, value, began, is_firing))
        self.active = tuple(active)
        self.looked_at = now

    def _values(self, condition: Threshold, now: float, samples: Sequence[Sample]) -> Values:
        quantity = condition.quantity
        if isinstance(quantity, Rate):
            growth = self._growths.setdefault(quantity, RecentGrowth(quantity))
            return growth.rates(now, samples)
        return {
            tuple(labels.items()): sample.number
            for sample in samples
            if _matches(quantity.where, labels := _labels(sample))
        }


class RecentGrowth:
    """The growth of a counter in the last five minutes, from look to look."""

    def __init__(self, rate: Rate) -> None:
        self._by = [name for name in re.split(", *", rate.by) if name not in {"job", "instance"}]
        self._where = rate.where
        self._counts: dict[tuple[str, ...], float] | None = None
        self._steps: deque[tuple[float, Values]] = deque()

    def rates(self, now: float, samples: Sequence[Sample]) -> Values:
        """Return the growth per second, by the labels of the rate."""
        before, self._counts = self._counts, {it.values: it.number for it in samples}
        step: Values = {}
        for sample in samples:
            labels = _labels(sample)
            if before is not None and _matches(self._where, labels):
                of = tuple((name, labels.get(name, "")) for name in self._by)
                known = before.get(sample.values, 0.0)
                # A counter that fell was reset.
                grown = sample.number - known if sample.number >= known else sample.number
                step[of] = step.get(of, 0.0) + grown
        self._steps.append((now, step))
        while not now - WINDOW_S < self._steps[0][0] <= now:
            self._steps.popleft()
        total: Values = {}
        for _, counted in self._steps:
            for of, grown in counted.items():
                total[of] = total.get(of, 0.0) + grown
        return {of: grown / WINDOW_S for of, grown in total.items()}


def _labels(sample: Sample) -> dict[str, str]:
    return dict(zip(sample.metric.labels, sample.values, strict=True))


def _matches(where: str, labels: Mapping[str, str]) -> bool:
    """Return whether a series with these labels is selected by matchers."""
    return all(re.fullmatch(value, labels.get(name, "")) for name, value in _MATCHER.findall(where))
