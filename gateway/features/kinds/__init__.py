"""The kinds of features: each module here declares a `KIND`, and no other module names one."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from gateway.features.kinds import (
    answers,
    compact,
    console,
    mcp,
    origin_auth,
    runs,
    subscriptions,
    views,
)

if TYPE_CHECKING:
    from gateway.edge.origin_requests import OriginRequests
    from gateway.features.kinds.declaration import FeatureKind, RouteSetup
    from gateway.origin.client import Origin
    from gateway.protocol.http.forwarding import IdentityHeaders
    from gateway.runtime.route import StreamRoute
    from gateway.settings import Route

# In the order in which a route gets them: runs are listed from the streams that the console lists,
# and MCP sends by the subscriptions.
KINDS: tuple[FeatureKind, ...] = (
    console.KIND,
    compact.KIND,
    views.KIND,
    subscriptions.KIND,
    runs.KIND,
    mcp.KIND,
    answers.KIND,
    origin_auth.KIND,
)


def set_features(route: StreamRoute, made: RouteSetup) -> None:
    """Give a route the features that its settings ask for; those it has follow the settings."""
    for kind in KINDS:
        make = kind.of_origin if made.route.is_http else kind.of_log
        if make and (kind.is_wanted(made.route) or kind.name in route.features):
            pkgutil.resolve_name(make)(route, made)


def requests_of(
    made: RouteSetup, origin: Origin, identity: IdentityHeaders
) -> OriginRequests | None:
    """Return a feature's requests of a route to its origin; None if no feature is wanted there."""
    makes = [it.requests for it in KINDS if it.requests and it.is_wanted(made.route)]
    return pkgutil.resolve_name(makes[0])(made, origin, identity) if makes else None


def check_features(route: Route) -> None:
    """Raise StartError if a feature that a route asks for cannot be made of its settings."""
    for kind in KINDS:
        if kind.check and kind.is_wanted(route):
            pkgutil.resolve_name(kind.check)(route)
