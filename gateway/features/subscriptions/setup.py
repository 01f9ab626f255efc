"""The subscriptions of a route to a log, made from the settings: alone, or shared by gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.features.subscriptions.engine import RouteSubscriptions, SubscriptionRules
from gateway.features.subscriptions.shared.owned_log import OwnedLogSubscriptions
from gateway.features.subscriptions.shared.streams import SharedStreams
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.features.subscriptions.sole_log import SoleLogSubscriptions
from gateway.features.subscriptions.streams.hosted_streams import HostedStreams

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.contract import Documents
    from gateway.features.subscriptions.state.owners import OwnerAccess
    from gateway.runtime.route import SubscriptionsLike
    from gateway.settings import Settings
    from gateway.streams.appender import Appender
    from gateway.streams.stream_table import StreamTable


class RouteLike(Protocol):
    """A route to a log."""

    prefix: str
    table: StreamTable
    appender: Appender
    clock: Callable[[], float]


def make_subscriptions(
    settings: Settings, route: RouteLike, documents: Documents, rights: OwnerAccess
) -> RouteSubscriptions | SharedSubscriptions:
    """Make the subscriptions of a route."""
    rules, clock, prefix = SubscriptionRules.of(settings), route.clock, route.prefix
    if (sharing := route.table.log.sharing) is None:
        streams = HostedStreams(route.table, route.appender)
        return SoleLogSubscriptions(prefix, streams, documents, rules, clock, rights)
    shared = SharedStreams(route.table, route.appender, sharing)

    def make(owned: Documents) -> OwnedLogSubscriptions:
        return OwnedLogSubscriptions(prefix, shared, owned, rules, clock, rights)

    subscriptions = SharedSubscriptions(prefix, shared, documents, sharing, make)
    shared.on_observe = subscriptions.on_first_subscription
    return subscriptions


def renew_subscriptions(subscriptions: SubscriptionsLike | None, settings: Settings) -> None:
    """Have subscriptions follow new settings."""
    if isinstance(subscriptions, RouteSubscriptions | SharedSubscriptions):
        subscriptions.renew(SubscriptionRules.of(settings))
