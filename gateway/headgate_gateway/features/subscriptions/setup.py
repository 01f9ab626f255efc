"""The subscriptions of a route to a log, made from the settings: alone, or shared by gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.features.subscriptions.delivery.documents import documents_in
from headgate_gateway.features.subscriptions.engine import SoleLogSubscriptions, SubscriptionRules
from headgate_gateway.features.subscriptions.shared.lease import work_sharing_of
from headgate_gateway.features.subscriptions.shared.owned import OwnedSubscriptions
from headgate_gateway.features.subscriptions.shared.streams import SharedStreams
from headgate_gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from headgate_gateway.features.subscriptions.state.owners import OwnerAccess
from headgate_gateway.features.subscriptions.streams import RouteStreams
from headgate_gateway.features.subscriptions.subscription_handlers import SubscriptionsOfRoute

if TYPE_CHECKING:
    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.route import HostedRoute


def subscriptions_in_log(route: HostedRoute, made: RouteSetup) -> SubscriptionsOfRoute | None:
    """Return the subscriptions of a route; None if its log cannot store any."""
    if (documents := documents_in(route.table.log)) is None:
        return None
    rules = SubscriptionRules.of(made.settings)
    rights = OwnerAccess(lambda: route.access.guard, made.services.bans)
    subscriptions = _subscriptions(route, documents, rules, rights)
    return SubscriptionsOfRoute(route, subscriptions, made.services)


def _subscriptions(
    route: HostedRoute, documents: Documents, rules: SubscriptionRules, rights: OwnerAccess
) -> SoleLogSubscriptions | SharedSubscriptions:
    clock, prefix = route.clock, route.prefix
    if (sharing := work_sharing_of(route.table.log)) is None:
        streams = RouteStreams(route.table, route.writes)
        return SoleLogSubscriptions(prefix, streams, documents, rules, clock, rights)
    streams = SharedStreams(route.table, route.writes, sharing)

    def make(owned: Documents) -> OwnedSubscriptions:
        return OwnedSubscriptions(prefix, streams, owned, rules, clock, rights)

    return SharedSubscriptions(prefix, streams, make)
