"""The numbers of a route's subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from headgate_gateway.features.questions.subscriptions import SubscriptionStatus
from headgate_gateway.features.subscriptions.delivery.queue import is_stuck
from headgate_gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from headgate_gateway.features.subscriptions.delivery.queue import DeliveryQueue
    from headgate_gateway.features.subscriptions.membership import Membership
    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription

SUBSCRIPTIONS = gauge(
    "headgate_subscriptions",
    "Subscriptions by state: active, failed behind a failed attempt, stuck for over a day, or "
    "paused by an operator.",
    *("route", "state"),
)
LINKED = gauge(
    "headgate_subscription_streams", "Streams that subscriptions are linked to.", "route"
)
PENDING = gauge(
    "headgate_subscription_deliveries",
    "Deliveries of wakes by state: under way, or waiting for their turn.",
    *("route", "state"),
)
STREAMS_PENDING = gauge(
    "headgate_subscription_pending_streams",
    "Streams with events that a subscription has not acknowledged, for each subscription.",
    "route",
)
OLDEST = gauge(
    "headgate_subscription_oldest_seconds",
    "Longest time for which something waits for its acknowledgement, at most; paused ones are left "
    "out.",
    "route",
)
WAKES = counter(
    "headgate_subscription_wakes_total",
    "Wakes by what happened to them: begun, delivered, claimed, acknowledged cursors, failed "
    "attempts, retried ones, expired leases, fenced requests, and replays by operators.",
    *("route", "event"),
)
REFUSED = counter(
    "headgate_subscription_refusals_total",
    "Subscriptions, links and streams of wakes that were refused or left out by a limit.",
    *("route", "limit"),
)
OWNER = gauge(
    "headgate_subscription_owner",
    "1 if this gateway delivers the subscriptions of a log that several share, else 0.",
    "route",
)
TAKE_OVERS = counter(
    "headgate_subscription_take_overs_total",
    "Times that this gateway has taken over the subscriptions of a shared log.",
    "route",
)
RELAYED = counter(
    "headgate_subscription_relayed_requests_total",
    "Requests that this gateway has sent on to the one that delivers, or received from others.",
    *("route", "way"),
)
COMPARED = counter(
    "headgate_subscription_comparisons_total",
    "Comparisons of all streams of a shared log with the cursors: made by this gateway, or asked "
    "for as it had changed more streams than it can report one by one.",
    *("route", "event"),
)
EVENTS = (
    *("acknowledged", "begun", "claimed", "delivered", "expired", "failed", "fenced"),
    *("replayed", "retried"),
)


def samples(
    prefix: str,
    subscriptions: Iterable[DurableSubscription],
    now: float,
    membership: Membership,
    deliveries: DeliveryQueue[DurableSubscription],
    wakes: Counter[str],
) -> Iterator[Sample]:
    """Yield the metrics of a route's subscriptions."""
    states = no_states()
    pending = 0
    oldest = now
    for one in subscriptions:  # once for all metrics: there may be many
        states[status_of(one, now)] += 1
        pending += len(one.pending)
        since = one.delivery.waiting_since
        if since is not None and since < oldest and one.pending and not one.is_paused:
            oldest = since
    for state, number in states.items():
        yield Sample(SUBSCRIPTIONS, (prefix, state), number)
    yield Sample(STREAMS_PENDING, (prefix,), pending)
    yield Sample(OLDEST, (prefix,), now - oldest)
    yield Sample(LINKED, (prefix,), len(membership.streams))
    yield Sample(PENDING, (prefix, "running"), deliveries.running)
    yield Sample(PENDING, (prefix, "waiting"), deliveries.waiting)
    for event in EVENTS:
        yield Sample(WAKES, (prefix, event), wakes[event])
    refused = {
        "max_per_client": wakes["max_per_client"],
        "max_streams": wakes["max_streams"] + membership.refused,
        "wake_bytes": wakes["partial"],
    }
    for limit, number in refused.items():
        yield Sample(REFUSED, (prefix, limit), number)


def no_states() -> dict[SubscriptionStatus, int]:
    """Return a count for each state, of no subscription so far."""
    return dict.fromkeys(get_args(SubscriptionStatus), 0)


def status_of(subscription: DurableSubscription, now: float) -> SubscriptionStatus:
    """Return the state of a subscription: "stuck" if it has failed for over a day."""
    delivery = subscription.delivery
    may_be_stuck = delivery.failures > 0 and not subscription.is_paused
    if may_be_stuck and is_stuck(delivery.failures, delivery.failing_s(now)):
        return "stuck"
    return subscription.status
