"""Alert rules of subscriptions: workers that are not woken, or do not come to an end."""

from __future__ import annotations

from gateway.monitoring.quantities import AllConditions, Gauge, Increase, Threshold, Total
from gateway.monitoring.rules import Alert

_OF_A_ROUTE = "job, instance, route"
_OLDEST = Total("headgate_subscription_oldest_seconds", _OF_A_ROUTE, combine="max")
_FAILING = Total("headgate_subscriptions", _OF_A_ROUTE, 'state=~"failed|stuck"')

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
        "headgate stream subscriptions list --order oldest names the subscriptions, and why"
        " they wait.",
        "subscriptions",
    ),
    Alert(
        "HeadgateWakesFail",
        # By age: attempts become rare while a receiver is away, and others are woken meanwhile.
        AllConditions(Threshold(_OLDEST, ">", 300), (Threshold(_FAILING, ">", 0),)),
        "1m",
        "warning",
        "Events of {{ $labels.route }} on {{ $labels.instance }} have waited for"
        " {{ $value | humanizeDuration }}, and attempts to wake workers fail.",
        "headgate stream subscriptions list --status failed has the reasons. Attempts are repeated,"
        " and nothing is lost.",
        "subscriptions",
    ),
    Alert(
        "HeadgateSubscriptionPaused",
        Threshold(Gauge("headgate_subscriptions", 'state="paused"'), ">", 0),
        "2h",  # longer than most repairs take
        "warning",
        "{{ $value }} subscriptions of {{ $labels.route }} have been paused for two hours.",
        "An operator has paused them, and perhaps forgotten: headgate stream"
        " subscriptions resume ID.",
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
