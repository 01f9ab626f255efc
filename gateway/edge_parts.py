"""Construction of routes to HTTP origins.

`gateway.app` imports this module only if there is such a route: its parts take 1 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.origin_requests import OriginRequests
from gateway.edge.route import EdgeRoute
from gateway.edge.rules.policy import Defaults
from gateway.edge.rules.response_rules import ResponseRules
from gateway.features.kinds import requests_of
from gateway.origin.client import Origin, OriginSettings
from gateway.protocol.http.forwarding import READER_COOKIE, IdentityHeaders
from gateway.protocol.streams.limits import renew
from gateway.web.handlers.edge_handlers import EdgeHandlers

if TYPE_CHECKING:
    from gateway.features.kinds.declaration import RouteSetup
    from gateway.live.contract import FeedSettings
    from gateway.protocol.cache_headers import Freshness
    from gateway.runtime.route import RouteAccess, StreamRoute
    from gateway.settings import Route as RouteSettings

__all__ = ["EdgeHandlers", "EdgeRoute", "edge_route", "renew_route"]


def edge_route(made: RouteSetup, freshness: Freshness, access: RouteAccess) -> EdgeRoute:
    """Make the route to an HTTP origin."""
    route, shared = made.route, made.shared
    origin = Origin(OriginSettings.of(route), shared.tracer)
    rules = ResponseRules(
        freshness=freshness,
        defaults=Defaults(route.stale_if_error),
        via=shared.via,
        identity=_identity(route, access),
        located=origin.servers.location,
        ignore_no_store=route.no_store == "ignore",
        shares_s_maxage=route.s_maxage == "share",
    )
    requests = requests_of(made, origin, rules.identity) or OriginRequests(
        origin, rules.identity, shared.via, shared.scheme
    )
    return EdgeRoute(
        route.prefix, origin, requests, rules, route.drop_query, made.feeds, shared, access
    )


def renew_route(
    route: StreamRoute,
    route_settings: RouteSettings,
    freshness: Freshness,
    feeds: FeedSettings,
    access: RouteAccess,
) -> bool:
    """Apply new settings to a route; return whether they change its responses."""
    assert isinstance(route, EdgeRoute), "the only other kind of route"
    renew(route.feeds.source.settings, feeds)
    route.origin.renew(OriginSettings.of(route_settings))
    route.access = route.requests.access(access)
    return route.renew_rules(
        freshness,
        Defaults(route_settings.stale_if_error),
        shares_s_maxage=route_settings.s_maxage == "share",
    )


def _identity(route: RouteSettings, access: RouteAccess) -> IdentityHeaders:
    """Return the headers by which the origin tells readers apart, without our own cookie."""
    cookie = READER_COOKIE if access.guard is not None else ""
    return IdentityHeaders(route.identity_headers, route.drop_headers, verified_cookie=cookie)
