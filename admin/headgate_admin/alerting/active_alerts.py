"""The alert rules that the console evaluates on what this gateway measures of itself.

Those are all whose series it has: only Prometheus knows whether a gateway can be scraped.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.model.overview import Scrape
from headgate_gateway.monitoring.alerts import alerts, recordings
from headgate_gateway.monitoring.promql import Expression, NotMeasuredError, compiled, values_of
from headgate_gateway.monitoring.quantities import RATE_WINDOW, seconds
from headgate_gateway.monitoring.series_history import Labels, SeriesHistory
from headgate_gateway.telemetry.metrics import BUILD, Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from headgate_gateway.monitoring.rules import Alert
    from headgate_gateway.settings import Settings

# An outage stays in a window for as long after its end. So an alert on a window is shown only if
# the last two looks alone fulfil its condition, and then while the last six do, or fulfil what the
# rule says for that: of a few requests a minute, two looks may have none.
WINDOWS = (RATE_WINDOW, "10s", "30s")
# A pending alert is shown at the second look: what one look has found may be over at the next. A
# rule that waits for more than a minute expects that, so it is shown after a share of the rest, and
# with a few looks until its condition holds, within a minute.
PENDING_S = 4.0
PENDING_SHARE = 0.2
MOST_PENDING_S = 36.0
SCRAPED_S = 300.0  # a rule with a window of five minutes has no value after so long a pause


class ActiveAlert(NamedTuple):
    """An alert for one set of labels, whose condition has held since a moment.

    It is firing once the condition has held for as long as the rule says. It is shown as something
    that goes on, which what its window measures may not do any more.
    """

    rule: Alert
    labels: Labels
    value: float
    since: float
    is_firing: bool
    is_shown: bool


class ActiveAlerts:
    """The rules that fit the settings, and the alerts whose conditions hold at the last look."""

    def __init__(self, settings: Settings) -> None:
        self.looked_at: float | None = None
        self.active: tuple[ActiveAlert, ...] = ()
        self._history = SeriesHistory()
        self._scraped = (-SCRAPED_S, "")  # when, and by which program
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Evaluate the rules of these settings from the next look on."""
        self.rules = tuple(alerts(settings))
        self._history = SeriesHistory(self._history)
        recorded = {it.record: it.expr for it in recordings(settings)}
        self._conditions: dict[Alert, list[Expression]] = {}
        self._figures: dict[Alert, list[Expression]] = {}
        for rule in self.rules:
            with suppress(NotMeasuredError):
                self._conditions[rule] = [
                    compiled(
                        _within(window, expression),
                        {name: _within(window, expr) for name, expr in recorded.items()},
                        self._history,
                    )
                    for window, expression in zip(
                        WINDOWS, (rule.expr, rule.expr, rule.still or rule.expr), strict=True
                    )
                ]
                self._figures[rule] = [compiled(it, recorded, self._history) for it in rule.figures]

    @property
    def unwatched(self) -> tuple[Alert, ...]:
        """The rules that the console cannot evaluate, which only a Prometheus watches."""
        return tuple(rule for rule in self.rules if rule not in self._conditions)

    def note_scrape(self, now: float, user_agent: str) -> None:
        """Note a request for all metrics: its client may watch the rules."""
        self._scraped = now, user_agent.partition("/")[0] or "a client without a name"

    def scrape(self, now: float) -> Scrape:
        """Return who has scraped the metrics in the last minutes."""
        if now - self._scraped[0] < SCRAPED_S:
            return Scrape(*self._scraped)
        return Scrape(None, None, tuple(rule.name for rule in self.unwatched))

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
        yield from self._history.look(now, (*samples, _BUILD))
        former = {(it.rule.name, it.labels): it for it in self.active}
        active = []
        for rule, (whole, *recent) in self._conditions.items():
            yield
            values = values_of(whole())
            last, lasting = (values_of(it()) if values else {} for it in recent)
            for labels, value in values.items():
                before = former.get((rule.name, labels))
                # A clock that was set back puts moments before that into the future.
                began = now if before is None else min(before.since, now)
                held_s, lasting_s = now - began, seconds(rule.lasting)
                is_firing = held_s >= lasting_s
                pending_s = min(PENDING_SHARE * (lasting_s - 60), MOST_PENDING_S)
                is_due = is_firing or held_s >= max(PENDING_S, pending_s)
                was_shown = before is not None and before.is_shown
                is_shown = is_due and (labels in last or (was_shown and labels in lasting))
                active.append(ActiveAlert(rule, labels, value, began, is_firing, is_shown))
        self.active = tuple(active)
        self.looked_at = now


def _within(window: str, expression: str) -> str:
    """Return an expression with another window in the place of the usual one."""
    return expression.replace(f"[{RATE_WINDOW}]", f"[{window}]")


_BUILD = Sample(BUILD, ("", ""), 1.0)  # rules ask by it whether a process is a gateway
