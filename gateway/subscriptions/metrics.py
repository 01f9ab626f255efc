"""The numbers of a route's subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.subscriptions.wakes import is_stuck
from gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from gateway.subscriptions.membership import Membership
    from gateway.subscriptions.sending.deliveries import Deliveries
    from gateway.subscriptions.subscription import DurableSubscription
    from gateway.subscriptions.wakes import Wakes

SUBSCRIPTIONS = gauge(
    "headgate_subscriptions",
    "RouteSubscriptions by state: active, failed behind a failed attempt, or stuck for over a day.",
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
WAKES = counter(
    "headgate_subscription_wakes_total",
    "Wakes by what happened to them: begun, delivered, claimed, acknowledged cursors, failed "
    "attempts, expired leases, and fenced requests.",
    *("route", "event"),
)
REFUSED = counter(
    "headgate_subscription_refusals_total",
    "RouteSubscriptions, links and streams of wakes that were refused or left out by a limit.",
    *("route", "limit"),
)
DECLARED = (SUBSCRIPTIONS, LINKED, PENDING, WAKES, REFUSED)
EVENTS = ("acknowledged", "begun", "claimed", "delivered", "expired", "failed", "fenced")


class CountedSubscriptions(Protocol):
    """The subscriptions of a route, as far as they are counted."""

    by_id: dict[str, DurableSubscription]
    clock: Callable[[], float]
    membership: Membership
    deliveries: Deliveries
    wakes: Wakes
    refused: Counter[str]


def samples(prefix: str, subscriptions: CountedSubscriptions) -> Iterator[Sample]:
    """Yield the metrics of a route's subscriptions."""
    states = states_of(subscriptions)
    for state, number in states.items():
        yield Sample(SUBSCRIPTIONS, (prefix, state), number)
    yield Sample(LINKED, (prefix,), len(subscriptions.membership))
    yield Sample(PENDING, (prefix, "running"), subscriptions.deliveries.running)
    yield Sample(PENDING, (prefix, "waiting"), subscriptions.deliveries.waiting)
    for event in EVENTS:
        yield Sample(WAKES, (prefix, event), subscriptions.wakes.counts[event])
    refused = subscriptions.refused
    numbers = {
        "max_client_subscriptions": refused["max_client_subscriptions"],
        "max_subscription_streams": refused["max_subscription_streams"]
        + subscriptions.membership.refused,
        "wake_bytes": subscriptions.wakes.counts["partial"],
    }
    for limit, number in numbers.items():
        yield Sample(REFUSED, (prefix, limit), number)


def states_of(subscriptions: CountedSubscriptions) -> dict[str, int]:
    """Return how many subscriptions are in each state."""
    states = {"active": 0, "failed": 0, "stuck": 0}
    now = subscriptions.clock()
    for one in subscriptions.by_id.values():
        since = one.delivery.failing_since
        if since is not None and is_stuck(one.delivery.failures, now - since):
            states["stuck"] += 1
        else:
            states["failed" if one.has_failed else "active"] += 1
    return states
