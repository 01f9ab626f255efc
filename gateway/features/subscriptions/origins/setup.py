"""The subscriptions of a route to an HTTP origin, in the log that its settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.features.delivery.documents import documents_in
from gateway.features.subscriptions.engine import SubscriptionRules
from gateway.features.subscriptions.origins.origin_streams import AskingAgain, OriginStreams
from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from gateway.features.subscriptions.origins.origin_view import StreamRequests
from gateway.features.subscriptions.origins.shared_origin import (
    OwnedOriginSubscriptions,
    SharedOriginSubscriptions,
)
from gateway.features.subscriptions.state.owners import OwnerAccess
from gateway.features.subscriptions.subscription_handlers import SubscriptionsOfRoute
from gateway.logs.registry import log_for

if TYPE_CHECKING:
    from gateway.edge.route import EdgeRoute
    from gateway.features.delivery.documents import Documents
    from gateway.logs.contract import Log
    from gateway.routes.setup import RouteSetup


def subscriptions_of_origin(route: EdgeRoute, made: RouteSetup) -> SubscriptionsOfRoute:
    """Return the subscriptions of a route, which notes what clients write through it."""
    log = log_for(made.route.subscription_log)
    subscriptions = _subscriptions(route, log, SubscriptionRules.of(made.settings), made)
    route.observe(subscriptions)
    return SubscriptionsOfRoute(route, subscriptions, made.services, log)


def _subscriptions(
    route: EdgeRoute, log: Log, rules: SubscriptionRules, made: RouteSetup
) -> OriginSubscriptions | SharedOriginSubscriptions:
    services = made.services
    requests = StreamRequests(route.prefix, route.origin, services.via, route.announce_write)
    rights = OwnerAccess(lambda: route.access.guard, services.bans)
    rest = rules, services.clock, rights
    if log.sharing is None:
        documents = documents_in(log)
        assert documents is not None, "the setting names no other kind of log"
        return OriginSubscriptions(route.prefix, OriginStreams(requests), documents, *rest)

    def make_owned(documents: Documents, others: AskingAgain) -> OwnedOriginSubscriptions:
        streams = OriginStreams(requests, others)
        return OwnedOriginSubscriptions(route.prefix, streams, documents, *rest)

    return SharedOriginSubscriptions(route.prefix, log, make_owned)
