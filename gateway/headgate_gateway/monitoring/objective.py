"""The objective for answers other than 5xx, and alerts on the pace that spends its error budget.

These are the multi-window, multi-burn-rate alerts of the SRE workbook (chapter 5, *Alerting on
SLOs*): of a month's budget 2 % in an hour or 5 % in six hours wakes somebody, 10 % in three days is
a warning. The short window of each pair ends the alert soon after the errors have ended.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate_gateway.monitoring.quantities import SERVER_ERROR, increase, share
from headgate_gateway.monitoring.rules import Alert, RecordingRule

OBJECTIVE = 99.9  # percent of the requests of a route
LEAST_OBJECTIVE = 95.0  # below, the fastest burn that is looked for would be more than all requests
# Of a route that is hardly used, one failed request is a large share: it wakes nobody.
FEWEST_ERRORS = 10


class Burn(NamedTuple):
    """A burn rate: a multiple of the pace that spends a month's budget in exactly a month.

    There have to be measurements of `known` ago, three quarters of the long window.
    """

    rate: float
    long: str
    short: str
    known: str


FAST = (Burn(14.4, "1h", "5m", "45m"), Burn(6, "6h", "30m", "270m"))
SLOW = (Burn(3, "1d", "2h", "18h"), Burn(1, "3d", "6h", "54h"))


def errors(window: str) -> str:
    """Return the name under which the share of 5xx in a window is recorded."""
    return f"job_route:headgate_server_errors:ratio_rate{window}"


RECORDINGS = tuple(
    RecordingRule(
        errors(window), share("headgate_requests_total", "job, route", SERVER_ERROR, window)
    )
    for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
)


def burn_alerts(objective: float) -> tuple[Alert, Alert]:
    """Return the alerts on an objective, in percent."""
    budget = 1 - objective / 100
    percent = f"{objective:.10g} %"
    return (
        Alert(
            "HeadgateErrorBudgetBurnsFast",
            _either(FAST, budget),
            "0m",  # the long window is long enough
            "critical",
            # The alert lasts until the short window has passed: by then the errors may be over.
            "{{ $value | humanizePercentage }} of the requests to {{ $labels.route }} got 5xx"
            " within the last hour, or the last six.",
            f"The objective is that {percent} get no 5xx. At this pace the error budget of a month"
            " is used up within days.",
            is_symptom=True,
        ),
        Alert(
            "HeadgateErrorBudgetBurns",
            _either(SLOW, budget),
            "0m",
            "warning",
            "{{ $value | humanizePercentage }} of the requests to {{ $labels.route }} got 5xx"
            " within the last day, or the last three: more than the objective allows.",
            f"The objective is that {percent} get no 5xx. At this pace the error budget of a month"
            " is used up before the month is over.",
            is_symptom=True,
        ),
    )


def _either(burns: tuple[Burn, ...], budget: float) -> str:
    return " or ".join(f"({_burning(burn, burn.rate * budget)})" for burn in burns)


def _burning(burn: Burn, bound: float) -> str:
    failed = increase("headgate_requests_total", "job, route", SERVER_ERROR, burn.long)
    # Of minutes, a single restart would be an hour's errors.
    measured = f"sum by (job, route) (headgate_requests_total offset {burn.known})"
    return (
        f"{errors(burn.long)} > {bound:.6g} and {errors(burn.short)} > {bound:.6g}"
        f" and {failed} >= {FEWEST_ERRORS} and {measured}"
    )
