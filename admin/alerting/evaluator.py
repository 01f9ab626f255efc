"""The evaluator of this gateway's alerts, which has the state of every rule after each look."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from admin.alerting.evaluation import Evaluation, Values, costly, windows
from admin.alerting.series import SampleHistory
from admin.alerting.states import AlertChanges, AlertStates
from gateway.background import Turns
from gateway.monitoring.alerts import alerts
from gateway.monitoring.quantities import main_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from gateway.monitoring.quantities import Quantity
    from gateway.monitoring.rules import Alert
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Sample


CLOCK_SETS = "headgate_clock_sets_total"
ALERTS: web.AppKey[AlertEvaluator] = web.AppKey("alerts")


class AlertEvaluator:
    """The rules that fit the settings, and their states at the last look.

    `values` are those of the quantity that the alert of each rule shows, by the name of the rule.
    """

    def __init__(self, settings: Settings) -> None:
        self._history = SampleHistory()
        self._evaluation = Evaluation(self._history)
        self._evaluated: tuple[Alert, ...] = ()  # the rules of `_evaluation`
        self._costly: dict[str, tuple[Quantity, ...]] = {}
        self._turns = Turns()
        self._clock_sets = 0.0
        self._one_at_a_time = asyncio.Lock()
        self.states = AlertStates()
        self.on_look: Callable[[float, AlertChanges, AlertStates], None] | None = None
        self.values: dict[str, Values] = {}
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Evaluate the rules of these settings from the next look on."""
        self.settings = settings
        self.rules = tuple(alerts(settings))

    async def look(self, now: float, samples: Collection[Sample]) -> AlertChanges:
        """Evaluate all rules, in turns with other work; return what has begun and ended."""
        async with self._one_at_a_time:
            changes = await self._turns.run(self.evaluate(now, samples))
        if self.on_look is not None:
            self.on_look(now, changes, self.states)
        return changes

    def evaluate(
        self, now: float, samples: Collection[Sample]
    ) -> Generator[None, None, AlertChanges]:
        """Evaluate all rules in steps; return what has begun and ended."""
        rules = self.rules  # a reload may set others before the last step
        evaluation = self._evaluation_of(rules)
        clock_sets = sum(it.number for it in samples if it.metric.name == CLOCK_SETS)
        if clock_sets != self._clock_sets:
            self._clock_sets = clock_sets
            self._history.begin_anew()
        yield from self._history.add(now, samples)
        evaluation.renew()
        found = []
        values: dict[str, Values] = {}
        for rule in rules:
            for quantity in self._costly[rule.name]:
                evaluation.values(quantity)
                yield
            found.append((rule, evaluation.results(rule.condition)))
            threshold = main_threshold(rule.condition)
            values[rule.name] = {} if threshold is None else evaluation.values(threshold.quantity)
            yield
        self.values = values
        return self.states.update(now, found)

    def _evaluation_of(self, rules: tuple[Alert, ...]) -> Evaluation:
        """Return the evaluation of these rules, for which samples are kept from now on."""
        if rules is not self._evaluated:
            self._evaluated = rules
            self._costly = {rule.name: costly(rule.condition) for rule in rules}
            self._history.need(windows(rule.condition for rule in rules))
            self._evaluation = Evaluation(self._history)
        return self._evaluation
