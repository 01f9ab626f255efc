"""The alert rules that the console evaluates: thresholds on gauges, rates of five minutes, ratios.

All other rules are text for Prometheus alone.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from headgate_gateway.monitoring.alerts import alerts
from headgate_gateway.monitoring.quantities import RATE_WINDOW, Rate, Ratio, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headgate_gateway.monitoring.quantities import Gauge
    from headgate_gateway.monitoring.rules import Alert
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Sample

Labels: TypeAlias = tuple[tuple[str, str], ...]
Values: TypeAlias = dict[Labels, float]
Series: TypeAlias = dict[str, Values]  # by the name of the metric
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

    @property
    def unwatched(self) -> tuple[Alert, ...]:
        """The rules that the console cannot evaluate, which only a Prometheus watches."""
        return tuple(rule for rule in self.rules if rule.threshold is None)

    def look(self, now: float, samples: Iterable[Sample]) -> None:
        """Evaluate the rules on the metrics of a moment."""
        conditions = {rule: rule.threshold for rule in self.rules if rule.threshold is not None}
        series = _series(samples)
        since = {(it.rule.name, it.labels): it.since for it in self.active}
        active = []
        for rule, condition in conditions.items():
            for labels, value in self._values(condition.quantity, now, series).items():
                if _COMPARE[condition.operator](value, condition.bound):
                    # A clock that was set back puts moments before that into the future.
                    began = min(since.get((rule.name, labels), now), now)
                    is_firing = now - began >= seconds(rule.lasting)
                    active.append(ActiveAlert(rule, labels, value, began, is_firing))
        self.active = tuple(active)
        self.looked_at = now

    def _values(self, quantity: Gauge | Rate | Ratio, now: float, series: Series) -> Values:
        if isinstance(quantity, Ratio):
            parts = self._values(quantity.part, now, series)
            wholes = self._values(quantity.whole, now, series)
            return {
                labels: parts[labels] / whole
                for labels, whole in wholes.items()
                if whole > quantity.least and labels in parts
            }
        found = {
            labels: number
            for labels, number in series.get(quantity.metric, {}).items()
            if _matches(quantity.where, labels)
        }
        if isinstance(quantity, Rate):
            growth = self._growths.setdefault(quantity, RecentGrowth(quantity.by))
            return growth.rates(now, found)
        return found


def _series(samples: Iterable[Sample]) -> Series:
    """Return the numbers by the name of their series, as Prometheus has them, and their labels."""
    series: Series = {}
    for it in samples:
        labels = tuple(zip(it.metric.labels, it.values, strict=True))
        if it.distribution is None:
            series.setdefault(it.metric.name, {})[labels] = it.number
        else:
            series.setdefault(f"{it.metric.name}_sum", {})[labels] = it.distribution.sum
            count = float(sum(it.distribution.counts))
            series.setdefault(f"{it.metric.name}_count", {})[labels] = count
    return series


class RecentGrowth:
    """The growth of a counter in the last five minutes, from look to look."""

    def __init__(self, by: str) -> None:
        """`by` are the labels to sum by, with commas between."""
        self._by = [name for name in re.split(", *", by) if name not in {"job", "instance"}]
        self._counts: Values | None = None
        self._steps: deque[tuple[float, Values]] = deque()

    def rates(self, now: float, counts: Values) -> Values:
        """Return the growth per second, by the labels of the rate."""
        before, self._counts = self._counts, counts
        step: Values = {}
        for labels, count in counts.items():
            # What a counter had before the first look may be old.
            former = count if before is None else before.get(labels, 0.0)
            # A counter that fell was reset.
            growth = count - former if count >= former else count
            key = tuple((name, dict(labels).get(name, "")) for name in self._by)
            step[key] = step.get(key, 0.0) + growth
        self._steps.append((now, step))
        while not now - WINDOW_S < self._steps[0][0] <= now:
            self._steps.popleft()
        total: Values = {}
        for _, grown in self._steps:
            for key, growth in grown.items():
                total[key] = total.get(key, 0.0) + growth
        return {key: growth / WINDOW_S for key, growth in total.items()}


def _matches(where: str, labels: Labels) -> bool:
    """Return whether a series with these labels is selected by matchers."""
    values = dict(labels)
    return all(re.fullmatch(value, values.get(name, "")) for name, value in _MATCHER.findall(where))
