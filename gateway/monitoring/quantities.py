"""Quantities and conditions of alert rules: the one declaration that two evaluators read.

`promql` is what Prometheus evaluates. `by` are labels with commas between, `where` are label
matchers of PromQL with `=`, `!=` or `=~`, and windows are durations of PromQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from gateway.monitoring import promql

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `5m`."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """The present value of each series of a gauge."""

    metric: str
    where: str = ""

    @property
    def promql(self) -> str:
        """The expression."""
        return f"{self.metric}{{{self.where}}}" if self.where else self.metric


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of a gauge over series with equal `by` labels, or the largest of them."""

    metric: str
    by: str
    where: str = ""
    combine: Literal["sum", "max"] = "sum"

    @property
    def promql(self) -> str:
        """The expression."""
        if self.combine == "sum":
            return promql.total(self.metric, self.by, self.where)
        return f"{self.combine} by ({self.by}) ({Gauge(self.metric, self.where).promql})"


@dataclass(frozen=True, slots=True)
class Rate:
    """The growth of a counter per second in a window, summed over series with equal `by` labels."""

    metric: str
    by: str
    where: str = ""
    window: str = "5m"

    @property
    def promql(self) -> str:
        """The expression."""
        return promql.rate(self.metric, self.by, self.where, self.window)


@dataclass(frozen=True, slots=True)
class Increase:
    """The growth of a counter in a window; without `by` that of each series."""

    metric: str
    by: str = ""
    where: str = ""
    window: str = "5m"

    @property
    def promql(self) -> str:
        """The expression."""
        if not self.by:
            return f"increase({Gauge(self.metric, self.where).promql}[{self.window}])"
        return promql.increase(self.metric, self.by, self.where, self.window)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a histogram's observations in a window."""

    metric: str
    by: str
    window: str = "5m"

    @property
    def promql(self) -> str:
        """The expression."""
        return promql.mean(self.metric, self.by, window=self.window)


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a histogram's observations in a window."""

    q: float
    metric: str
    by: str
    window: str = "5m"

    @property
    def promql(self) -> str:
        """The expression."""
        return promql.quantile(self.q, self.metric, self.by, window=self.window)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quantity divided by another one with the same labels."""

    part: Quantity
    whole: Quantity

    @property
    def promql(self) -> str:
        """The expression."""
        return f"{self.part.promql} / {self.whole.promql}"


@dataclass(frozen=True, slots=True)
class SecondsUntil:
    """The seconds until the moment that a gauge has, or since it if `is_past`."""

    metric: str
    is_past: bool = False

    @property
    def promql(self) -> str:
        """The expression."""
        return f"time() - {self.metric}" if self.is_past else f"{self.metric} - time()"


@dataclass(frozen=True, slots=True)
class CertificateShare:
    """A share of the whole time of a certificate, in seconds."""

    start: str
    expiry: str
    share: float

    @property
    def promql(self) -> str:
        """The expression."""
        return f"{self.share:g} * ({self.expiry} - {self.start})"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The value that a gauge will have after `ahead_s` if it goes on as in the window."""

    metric: str
    window: str
    ahead_s: int

    @property
    def promql(self) -> str:
        """The expression."""
        return f"predict_linear({self.metric}[{self.window}], {self.ahead_s})"


@dataclass(frozen=True, slots=True)
class RecordedQuantity:
    """A quantity under the name of the recording rule that has it in Prometheus."""

    name: str
    quantity: Quantity

    @property
    def promql(self) -> str:
        """The name."""
        return self.name


Quantity: TypeAlias = (
    Gauge
    | Total
    | Rate
    | Increase
    | Mean
    | Quantile
    | Ratio
    | SecondsUntil
    | CertificateShare
    | Prediction
    | RecordedQuantity
)
Operator: TypeAlias = Literal["<", ">", "==", ">="]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The values of a quantity that are beyond a threshold."""

    quantity: Quantity
    operator: Operator
    bound: float | CertificateShare

    @property
    def promql(self) -> str:
        """The expression."""
        bound = self.bound
        text = bound.promql if isinstance(bound, CertificateShare) else _number(bound)
        return f"{self.quantity.promql} {self.operator} {text}"


@dataclass(frozen=True, slots=True)
class MeasuredBefore:
    """The series of a metric, or groups with equal `by` labels, that there were so long ago.

    With another condition, what began later has no result: of minutes, a single restart would be
    an hour's errors, and the creation of a file the end of the disk.
    """

    metric: str
    ago: str
    by: str = ""

    @property
    def promql(self) -> str:
        """The expression."""
        then = f"{self.metric} offset {self.ago}"
        return f"sum by ({self.by}) ({then})" if self.by else then


@dataclass(frozen=True, slots=True)
class AllConditions:
    """The values of a condition whose labels another condition has as well."""

    first: Condition
    others: tuple[Condition, ...]

    @property
    def promql(self) -> str:
        """The expression."""
        return " and ".join(one.promql for one in (self.first, *self.others))


@dataclass(frozen=True, slots=True)
class AnyCondition:
    """The values of several conditions; of equal labels those of the first."""

    conditions: tuple[Condition, ...]

    @property
    def promql(self) -> str:
        """The expression."""
        if len(self.conditions) == 1:
            return self.conditions[0].promql
        return " or ".join(f"({one.promql})" for one in self.conditions)


@dataclass(frozen=True, slots=True)
class UnlessCondition:
    """The values of a condition whose labels another condition does not have."""

    first: Condition
    other: Condition

    @property
    def promql(self) -> str:
        """The expression."""
        return f"{self.first.promql} unless {self.other.promql}"


@dataclass(frozen=True, slots=True)
class GatewayCondition:
    """A condition on metrics that other programs have, too: of gateways alone."""

    condition: Threshold

    @property
    def promql(self) -> str:
        """The expression."""
        return f"{self.condition.promql} and on (job, instance) headgate_build_info"


@dataclass(frozen=True, slots=True)
class OutsideCondition:
    """A condition that a gateway cannot see by itself; `reason` says why."""

    promql: str
    reason: str


Condition: TypeAlias = (
    Threshold
    | MeasuredBefore
    | AllConditions
    | AnyCondition
    | UnlessCondition
    | GatewayCondition
    | OutsideCondition
)


def _number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:.6g}"


def main_threshold(condition: Condition) -> Threshold | None:
    """Return the threshold whose value an alert shows; None for a condition from outside."""
    match condition:
        case Threshold():
            return condition
        case AllConditions(first, _) | UnlessCondition(first, _) | AnyCondition((first, *_)):
            return main_threshold(first)
        case GatewayCondition(threshold):
            return threshold
        case _:
            return None


def parts_of(whole: Condition | Quantity) -> Iterator[Condition | Quantity]:
    """Yield a condition or quantity, and everything in it."""
    yield whole
    for field in fields(whole):
        value = getattr(whole, field.name)
        for it in value if isinstance(value, tuple) else (value,):
            if is_dataclass(it):
                yield from parts_of(it)  # type: ignore[arg-type] # nothing else is in a condition


def labels(by: str) -> tuple[str, ...]:
    """Return the labels in `by`, without those that are the same for all of a gateway."""
    return tuple(name for name in re.split(", *", by) if name not in {"", "job", "instance"})
