"""Quantities and conditions of alert rules: the one declaration that two evaluators read.

`promql` returns what Prometheus evaluates. `by` are labels with commas between, `where` are label
matchers of PromQL with `=`, `!=` or `=~`, and windows are durations of PromQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVED_HERE = 'result=~"hit|collapsed|stale"'
SERVER_ERROR = 'status="5xx"'
FAILED_APPEND = 'result="failed"'
FAILED = 'result=~"5xx|timeout|unreachable|broken"'
# Shares of reads that were served without the origin.
TARGET = 0.85
ALARM = 0.70

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `5m`."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """The present value of each series of a gauge."""

    metric: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of a gauge over series with equal `by` labels, or the largest of them."""

    metric: str
    by: str
    where: str = ""
    combine: Literal["sum", "max"] = "sum"


@dataclass(frozen=True, slots=True)
class Rate:
    """The growth of a counter per second in a window, summed over series with equal `by` labels."""

    metric: str
    by: str
    where: str = ""
    window: str = "5m"


@dataclass(frozen=True, slots=True)
class Increase:
    """The growth of a counter in a window; without `by` that of each series."""

    metric: str
    by: str = ""
    where: str = ""
    window: str = "5m"


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a histogram's observations in a window; of an alert without `where`."""

    metric: str
    by: str
    window: str = "5m"
    where: str = ""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a histogram's observations in a window; of an alert without `where`."""

    q: float
    metric: str
    by: str
    window: str = "5m"
    where: str = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quantity divided by another one with the same labels."""

    part: Quantity
    whole: Quantity


@dataclass(frozen=True, slots=True)
class SecondsUntil:
    """The seconds until the moment that a gauge has, or since it if `is_past`."""

    metric: str
    is_past: bool = False


@dataclass(frozen=True, slots=True)
class CertificateShare:
    """A share of the whole time of a certificate, in seconds."""

    start: str
    expiry: str
    share: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The value that a gauge will have after `ahead_s` if it goes on as in the window."""

    metric: str
    window: str
    ahead_s: int


@dataclass(frozen=True, slots=True)
class RecordedQuantity:
    """A quantity under the name of the recording rule that has it in Prometheus."""

    name: str
    quantity: Quantity


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


@dataclass(frozen=True, slots=True)
class MeasuredBefore:
    """The series of a metric, or groups with equal `by` labels, that there were so long ago.

    With another condition, what began later has no result: of minutes, a single restart would be
    an hour's errors, and the creation of a file the end of the disk.
    """

    metric: str
    ago: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class AllConditions:
    """The values of a condition whose labels another condition has as well."""

    first: Condition
    others: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyCondition:
    """The values of several conditions; of equal labels those of the first."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class UnlessCondition:
    """The values of a condition whose labels another condition does not have."""

    first: Condition
    other: Condition


@dataclass(frozen=True, slots=True)
class GatewayCondition:
    """A condition on metrics that other programs have, too: of gateways alone."""

    condition: Threshold


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


def promql(it: Quantity | Condition) -> str:  # noqa: C901 - a case a kind
    """Return the expression of a quantity or condition, as Prometheus evaluates it."""
    match it:
        case Gauge(metric, where):
            text = f"{metric}{{{where}}}" if where else metric
        case Total(metric, by, where, combine):
            text = f"{combine} by ({by}) ({promql(Gauge(metric, where))})"
        case Rate(metric, by, where, window):
            text = f"sum by ({by}) (rate({promql(Gauge(metric, where))}[{window}]))"
        case Increase(metric, by, where, window):
            text = f"increase({promql(Gauge(metric, where))}[{window}])"
            text = f"sum by ({by}) ({text})" if by else text
        case Mean(metric, by, window, where):
            sums, counts = (Rate(f"{metric}_{of}", by, where, window) for of in ("sum", "count"))
            text = promql(Ratio(sums, counts))
        case Quantile(q, metric, by, window, where):
            rate = Rate(f"{metric}_bucket", f"{by}, le" if by else "le", where, window)
            text = f"histogram_quantile({q:g}, {promql(rate)})"
        case Ratio(part, whole):
            text = f"{promql(part)} / {promql(whole)}"
        case SecondsUntil(metric, is_past):
            text = f"time() - {metric}" if is_past else f"{metric} - time()"
        case CertificateShare(start, expiry, share):
            text = f"{share:g} * ({expiry} - {start})"
        case Prediction(metric, window, ahead_s):
            text = f"predict_linear({metric}[{window}], {ahead_s})"
        case RecordedQuantity(name, _):
            text = name
        case _:
            text = _condition(it)
    return text


def _condition(it: Condition) -> str:
    match it:
        case Threshold(quantity, operator, bound):
            of = promql(bound) if isinstance(bound, CertificateShare) else _number(bound)
            text = f"{promql(quantity)} {operator} {of}"
        case MeasuredBefore(metric, ago, by):
            text = f"{metric} offset {ago}"
            text = f"sum by ({by}) ({text})" if by else text
        case AllConditions(first, others):
            text = " and ".join(map(promql, (first, *others)))
        case AnyCondition(conditions):
            text = " or ".join(f"({promql(one)})" for one in conditions)
            text = text if len(conditions) > 1 else promql(conditions[0])
        case UnlessCondition(first, other):
            text = f"{promql(first)} unless {promql(other)}"
        case GatewayCondition(condition):
            text = f"{promql(condition)} and on (job, instance) headgate_build_info"
        case _:
            text = it.promql
    return text


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
