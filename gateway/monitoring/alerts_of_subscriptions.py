"""Alert rules of subscriptions: workers that are not woken, or do not come to an end."""

from __future__ import annotations

from gateway.monitoring.quantities import AllConditions, Gauge, Increase, Rate, Ratio, Threshold
from gateway.monitoring.rules import Alert

_WAKES, _OF_A_ROUTE = "headgate_subscription_wakes_total", "job, instance, route"
_FAILED = 'event="failed"'
_FAILING = Ratio(
    Rate(_WAKES, _OF_A_ROUTE, _FAILED, "15m"),
    Rate(_WAKES, _OF_A_ROUTE, 'event=~"failed|delivered"', "15m"),
)

SUBSCRIPTION_ALERTS = (
    Alert(
        "HeadgateSubscriptionStuck",
        Threshold(Gauge("headgate_subscriptions", 'state="stuck"'), ">", 0),
        "5m",
        "warning",
        "{{ $value }} subscriptions of {{ $labels.route }} have failed for over a day.",
        "Each is tried once an hour. GET of the subscription tells last_error; nothing is lost.",
        "subscriptions",
        "subscriptions {route}",
    ),
    Alert(
        "HeadgateSubscriptionLags",
        # A worker that takes an hour for a wake has a lease of ten minutes at most to extend.
        Threshold(Gauge("headgate_subscription_oldest_seconds"), ">", 3600),
        "10m",
        "warning",
        "Events of {{ $labels.route }} have waited for {{ $value | humanizeDuration }} for their"
        " acknowledgement.",
        "headgate subscriptions list --order oldest names the subscriptions, and why they wait.",
        "subscriptions",
    ),
    Alert(
        "HeadgateWakesFail",
        AllConditions(
            Threshold(_FAILING, ">", 0.5),
            # One receiver that fails is tried every minute: fifteen times.
            (Threshold(Increase(_WAKES, _OF_A_ROUTE, _FAILED, "15m"), ">", 10),),
        ),
        "15m",
        "warning",
        "{{ $value | humanizePercentage }} of the attempts to wake workers of {{ $labels.route }}"
        " fail on {{ $labels.instance }}.",
        "headgate subscriptions list --status failed has the reasons. Attempts are repeated, and"
        " nothing is lost.",
        "subscriptions",
    ),
    Alert(
        "HeadgateSubscriptionPaused",
        Threshold(Gauge("headgate_subscriptions", 'state="paused"'), ">", 0),
        "2h",  # longer than most repairs take
        "warning",
        "{{ $value }} subscriptions of {{ $labels.route }} have been paused for two hours.",
        "An operator has paused them, and perhaps forgotten: headgate subscriptions resume ID.",
        "subscriptions",
    ),
    Alert(
        "HeadgateSubscriptionFull",
        Threshold(
            Increase(
                "headgate_subscription_refusals_total",
                _OF_A_ROUTE,
                'limit="max_subscription_streams"',
                "1h",
            ),
            ">",
            0,
        ),
        "0m",
        "warning",
        "Subscriptions of {{ $labels.route }} on {{ $labels.instance }} lack streams.",
        "They match more than max_subscription_streams: events of others wake nobody.",
        "subscriptions",
    ),
)
