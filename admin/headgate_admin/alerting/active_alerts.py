"""The alert rules that the console evaluates on what this gateway measures of itself.

Those are all whose series it has: only Prometheus knows whether a gateway can be scraped.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.monitoring.alerts import alerts, recordings
from headgate_gateway.monitoring.promql import Expression, NotMeasuredError, compiled, values_of
from headgate_gateway.monitoring.quantities import seconds
from headgate_gateway.monitoring.series_history import Labels, SeriesHistory
from headgate_gateway.telemetry.metrics import BUILD, Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from headgate_gateway.monitoring.rules import Alert
    from headgate_gateway.settings import Settings


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
        self._history: SeriesHistory | None = None
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Evaluate the rules of these settings from the next look on."""
        self.rules = tuple(alerts(settings))
        self._history = SeriesHistory(self._history)
        recorded = {it.record: it.expr for it in recordings(settings)}
        self._conditions: dict[Alert, Expression] = {}
        self._figures: dict[Alert, list[Expression]] = {}
        for rule in self.rules:
            with suppress(NotMeasuredError):
                self._conditions[rule] = compiled(rule.expr, recorded, self._history)
                self._figures[rule] = [compiled(it, recorded, self._history) for it in rule.figures]

    @property
    def unwatched(self) -> tuple[Alert, ...]:
        """The rules that the console cannot evaluate, which only a Prometheus watches."""
        return tuple(rule for rule in self.rules if rule not in self._conditions)

    def figures(self, alert: ActiveAlert) -> list[tuple[float, dict[str, str]]]:
        """Return the largest of each figure of an alert's rule for its labels, with all labels."""
        largest = partial(max, key=itemgetter(0), default=(0.0, {}))
        return [
            largest(
                (number, dict(labels))
                for labels, number in values_of(figure()).items()
                if number > 0 and {*alert.labels} <= {*labels}
            )
            for figure in self._figures[alert.rule]
        ]

    def look(self, now: float, samples: Iterable[Sample]) -> Generator[None, None, None]:
        """Evaluate the rules on the metrics of a moment, with pauses."""
        assert self._history is not None, "there are settings from the start on"
        yield from self._history.look(now, (*samples, _BUILD))
        since = {(it.rule.name, it.labels): it.since for it in self.active}
        active = []
        for rule, condition in self._conditions.items():
            yield
            for labels, value in values_of(condition()).items():
                # A clock that was set back puts moments before that into the future.
                began = min(since.get((rule.name, labels), now), now)
                is_firing = now - began >= seconds(rule.lasting)
                active.append(ActiveAlert(rule, labels, value, began, is_firing))
        self.active = tuple(active)
        self.looked_at = now


_BUILD = Sample(BUILD, ("", ""), 1.0)  # rules ask by it whether a process is a gateway
