"""Alert rules of HTTP origins: servers that are down, fail, or answer slowly."""

from __future__ import annotations

from headgate_gateway.monitoring.quantities import (
    FAILED,
    increase,
    quantile,
    rate,
    ratio,
    total,
)
from headgate_gateway.monitoring.rules import Alert

_OF_A_ROUTE = "job, instance, route"
_ORIGIN_REQUESTS = "headgate_origin_requests_total"
_ORIGIN_TIMES = "headgate_origin_request_duration_seconds"
_OLDEST = "headgate_origin_oldest_request_seconds"


def _slow(window: str) -> tuple[str, str]:
    """Return the share of the requests to an origin that took over 2 s, and their number."""
    every = increase(f"{_ORIGIN_TIMES}_count", _OF_A_ROUTE, "", window)
    prompt = increase(f"{_ORIGIN_TIMES}_bucket", _OF_A_ROUTE, 'le="2.0"', window)
    return f"1 - {prompt} / {every}", f"{every} - {prompt}"


def _slow_p99(window: str) -> str:
    """Return the p99 of the requests to an origin, from the buckets that matter for a slow one."""
    return quantile(0.99, _ORIGIN_TIMES, _OF_A_ROUTE, 'le=~"2.0|5.0|10.0|30.0|[+]Inf"', window)


def _is_slow(window: str) -> str:
    """Return the condition that too many requests to an origin took over 2 s.

    One of a few says nothing, so there are three or more: increase() makes 2.67 of two.
    """
    slow_share, number = _slow(window)
    return f"{slow_share} > 0.2 and {number} > 2.7"


ORIGIN_ALERTS = (
    Alert(
        "HeadgateOriginServerDown",
        "headgate_origin_up == 0",
        "5m",
        "warning",
        "{{ $labels.instance }} cannot reach {{ $labels.server }}, an origin of"
        " {{ $labels.route }}.",
        "Requests go to the other servers of the route, if there are any.",
        "origin",
        "origin",
        past="{{ $labels.instance }} could not reach {{ $labels.server }}, an origin of"
        " {{ $labels.route }}.",
    ),
    Alert(
        "HeadgateOriginDown",
        f"{total('headgate_origin_up', _OF_A_ROUTE, combine='max')} == 0",
        "1m",
        "critical",
        "{{ $labels.instance }} cannot reach any server of the origin of {{ $labels.route }}.",
        "Readers get what is cached, and writers get 502.",
        "origin",
        "origin",
        past="{{ $labels.instance }} could not reach any server of the origin of"
        " {{ $labels.route }}.",
    ),
    Alert(
        "HeadgateOriginFailing",
        "headgate_origin_failing == 1",
        "1m",
        "warning",
        "{{ $labels.server }}, an origin of {{ $labels.route }}, answers"
        " {{ $labels.instance }} nothing but 5xx, or nothing at all.",
        "Its log says why. It can be reached, so requests still go there.",
        "origin",
        "origin",
        past="{{ $labels.server }}, an origin of {{ $labels.route }}, answered"
        " {{ $labels.instance }} nothing but 5xx, or nothing at all.",
    ),
    Alert(
        "HeadgateOriginErrors",
        ratio(
            rate(_ORIGIN_REQUESTS, "job, route", FAILED),
            rate(_ORIGIN_REQUESTS, "job, route"),
            least=0.1,  # thirty in five minutes: of fewer, one failure says nothing
        )
        + " > 0.05",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the requests to the origin of"
        " {{ $labels.route }} failed.",
        "The origin's log says why it answers 5xx; the gateway's log line origin.failed has the"
        " other failures.",
        "origin",
        "origin",
    ),
    Alert(
        "HeadgateOriginSlow",
        # After thousands of prompt answers, a minute has few slow ones for long: hence 20 s.
        f"{total(_OLDEST, _OF_A_ROUTE, combine='max')} > 5"
        f" or {_is_slow('1m')} or {_is_slow('20s')}",
        "0m",  # the windows are time enough
        "warning",
        "The origin of {{ $labels.route }} keeps {{ $labels.instance }} waiting: over 5 s for a"
        " response, or over 2 s for more than a fifth of them.",
        "Readers wait as long for what is not cached, and writers for each append. The origin's log"
        " and load say why.",
        "origin",
        "origin",
        names="origin",
        figures=(
            f"{_is_slow('20s')} or {_slow('1m')[0]}",
            f"{_slow_p99('20s')} and {_is_slow('20s')} or {_slow_p99('1m')}",
            _OLDEST,
            "headgate_origin_waiting_readers",
        ),
        past="The origin of {{ $labels.route }} was slow.",
    ),
)
