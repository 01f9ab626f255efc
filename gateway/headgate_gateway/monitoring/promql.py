"""The part of PromQL that rules are written in, evaluated on what a gateway measures of itself.

So the console watches the text that Prometheus gets. `job` and `instance` are labels of a scrape:
here they are the same for all series, and left out. A rate is that of a whole window, also while
there are fewer data: Prometheus would extrapolate.
"""

from __future__ import annotations

import operator
import re
from itertools import pairwise
from math import inf, nan
from typing import TYPE_CHECKING, TypeAlias

from headgate_gateway.monitoring.quantities import seconds
from headgate_gateway.monitoring.series_history import Labels, Selection, SeriesHistory, Values
from headgate_gateway.telemetry.metrics import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Result: TypeAlias = "Values | float"
Expression: TypeAlias = "Callable[[], Result]"
OF_A_SCRAPE = {"job", "instance"}
_WORD = re.compile(r'\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)|"[^"]*"|[\w:]+|=~|[<>=]=|\S')
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    ">=": operator.ge,
}
_COMPUTE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda part, whole: part / whole if whole else inf if part > 0 else nan,
}
_SETS = {"and", "or", "unless"}
# The operators from the weakest on: each binds its operands less tightly than the next one.
_LEVELS = ({"or"}, {"and", "unless"}, _COMPARE.keys(), {"+", "-"}, {"*", "/"})


class NotMeasuredError(Exception):
    """An expression reads a series that only Prometheus has, such as `up`."""


def compiled(text: str, recorded: Mapping[str, str], history: SeriesHistory) -> Expression:
    """Return the function that evaluates an expression on the last look of a history.

    `recorded` has the expressions of recording rules by their names. Raises NotMeasuredError.
    """
    parser = _Parser(text, recorded, history)
    expression = parser.binary()
    parser.end()
    return expression


class _Parser:
    """A parser at one of the words of an expression."""

    def __init__(self, text: str, recorded: Mapping[str, str], history: SeriesHistory) -> None:
        self._text = text
        self._words = _WORD.findall(text)
        self._at = 0
        self._recorded = recorded
        self._history = history

    @property
    def _word(self) -> str:
        """The present word; "" at the end."""
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self, expected: str = "") -> str:
        word = self._word
        if expected and word != expected:
            raise ValueError(f"{expected} is missing before {word!r} in {self._text}")
        self._at += 1
        return word

    def _takes(self, word: str) -> bool:
        """Return whether the present word is this one, and take it then."""
        is_there = self._word == word
        self._at += is_there
        return is_there

    def end(self) -> None:
        """Raise ValueError if more words follow."""
        if self._word:
            raise ValueError(f"{self._word!r} is not understood in {self._text}")

    def binary(self, level: int = 0) -> Expression:
        """Return an expression whose operators bind as tightly as those of a level, or more."""
        if level == len(_LEVELS):
            return self._operand()
        left = self.binary(level + 1)
        while self._word in _LEVELS[level]:
            symbol = self._take()
            on = self._labels() if self._takes("on") else None
            left = _applied(symbol, left, self.binary(level + 1), on)
        return left

    def _operand(self) -> Expression:
        word = self._take()
        if word == "(":
            inner = self.binary()
            self._take(")")
            return inner
        if word[:1].isdigit():
            number = float(word)
            return lambda: number
        if word in self._recorded:
            return compiled(self._recorded[word], self._recorded, self._history)
        if word in {"sum", "max"}:
            self._take("by")
            by = self._labels()
            self._take("(")
            inner = self._summed(by) if word == "sum" else _largest(self.binary(), by)
        elif self._word == "(" and word not in {"by", "on"}:
            self._take("(")
            inner = self._call(word)
        else:
            self._at -= 1
            return self._series(None)
        self._take(")")
        return inner

    def _call(self, function: str) -> Expression:
        """Return the value of a function, after its opening bracket."""
        history = self._history
        if function == "time":
            return lambda: history.now
        if function == "histogram_quantile":
            q = float(self._take())
            self._take(",")
            return _quantiles(q, self.binary())
        if function == "predict_linear":
            window = history.window(self._selection(None), self._range(), grows=False)
            self._take(",")
            in_s = float(self._take())
            return lambda: window.predicted(in_s)
        if function in {"rate", "increase"}:
            return self._growth(function, None)
        raise ValueError(f"{function}() is not understood in {self._text}")

    def _growth(self, function: str, by: tuple[str, ...] | None) -> Expression:
        window = self._history.window(self._selection(by), self._range(), grows=True)
        if function == "increase":
            return window.growth
        window_s = window.window_s
        return lambda: {labels: it / window_s for labels, it in window.growth().items()}

    def _summed(self, by: tuple[str, ...]) -> Expression:
        """Return the sum of a selection or of its growth, which is then kept as sums alone."""
        function = self._word
        if function not in {"rate", "increase"}:
            return self._series(by)
        self._take()
        self._take("(")
        inner = self._growth(function, by)
        self._take(")")
        return inner

    def _series(self, by: tuple[str, ...] | None) -> Expression:
        """Return the present numbers of a selection, or those before an offset."""
        selection = self._selection(by)
        if self._takes("offset"):
            return self._history.window(selection, seconds(self._take()), grows=False).before
        return self._history.followed(selection, grows=False).present

    def _selection(self, by: tuple[str, ...] | None) -> Selection:
        name = self._take()
        if not name.startswith(("headgate_", "process_")):
            raise NotMeasuredError(name)
        where = []
        if self._takes("{"):
            while not self._takes("}"):
                where.append((self._take(), self._take(), self._take()[1:-1]))
                self._takes(",")
        return Selection(name, tuple(where), by)

    def _range(self) -> int:
        self._take("[")
        window_s = seconds(self._take())
        self._take("]")
        return window_s

    def _labels(self) -> tuple[str, ...]:
        """Take labels in brackets; return those that series have here."""
        self._take("(")
        names = []
        while not self._takes(")"):
            names.append(self._take())
            self._takes(",")
        return tuple(it for it in names if it not in OF_A_SCRAPE)


def _applied(
    symbol: str, left: Expression, right: Expression, on: tuple[str, ...] | None
) -> Expression:
    """Return what an operator makes of two expressions, whose series match by labels."""
    if symbol in _SETS:
        return lambda: _combined(symbol, values_of(left()), values_of(right()), on)
    if symbol in _COMPARE:
        holds = _COMPARE[symbol]
        return lambda: {
            labels: number
            for labels, number, other in _pairs(values_of(left()), right())
            if holds(number, other)
        }
    compute = _COMPUTE[symbol]

    def computed() -> Result:
        one, other = left(), right()
        if isinstance(one, dict):
            return {labels: compute(a, b) for labels, a, b in _pairs(one, other)}
        if isinstance(other, dict):
            return {labels: compute(one, number) for labels, number in other.items()}
        return compute(one, other)

    return computed


def values_of(result: Result) -> Values:
    """Return a result as values by labels; a number has none."""
    return result if isinstance(result, dict) else {(): result}


def _pairs(left: Values, right: Result) -> list[tuple[Labels, float, float]]:
    """Return the numbers of series with equal labels, or each with one number."""
    if not isinstance(right, dict):
        return [(labels, number, right) for labels, number in left.items()]
    return [(it, number, right[it]) for it, number in left.items() if it in right]


def _combined(symbol: str, left: Values, right: Values, on: tuple[str, ...] | None) -> Values:
    if symbol == "or":
        return right | left

    def key(labels: Labels) -> Labels:
        return labels if on is None else tuple(it for it in labels if it[0] in on)

    keys = set(map(key, right))
    return {it: number for it, number in left.items() if (key(it) in keys) == (symbol == "and")}


def _largest(inner: Expression, by: tuple[str, ...]) -> Expression:
    def largest() -> Values:
        found: Values = {}
        for labels, number in values_of(inner()).items():
            key = tuple(it for it in labels if it[0] in by)
            found[key] = max(number, found.get(key, -inf))
        return found

    return largest


def _quantiles(q: float, buckets: Expression) -> Expression:
    """Return a quantile of each histogram, from the growth of its buckets."""

    def quantiles() -> Values:
        histograms: dict[Labels, dict[float, float]] = {}
        for labels, number in values_of(buckets()).items():
            others = tuple(it for it in labels if it[0] != "le")
            histograms.setdefault(others, {})[float(dict(labels)["le"])] = number
        found: Values = {}
        for labels, within in histograms.items():
            *bounds, _ = sorted(within)
            # Per hour, since rates of minutes are whole then: a rank on a bound stays there.
            below = [0.0, *(round(3600 * within[it], 6) for it in sorted(within))]
            counts = [after - before for before, after in pairwise(below)]
            value = quantile(counts, bounds, q) if bounds else None
            if value is not None:
                found[labels] = value
        return found

    return quantiles
