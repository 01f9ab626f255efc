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
    from collections.abc import Sequence

    from gateway.access.authorities import Authorities
    from gateway.features.feature_route import FeatureRoute, RouteMaker
    from gateway.features.kinds.declaration import FeatureKind
    from gateway.routes.contract import StreamRoute
    from gateway.routes.services import Services
    from gateway.routes.setup import RouteSetup
    from gateway.settings import Route, Settings

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


def requests_of(route: Route) -> str:
    """Return the name of the function that makes a route's requests to its origin.

    It is "" where no feature makes them.
    """
    return next((it.requests for it in KINDS if it.requests and it.is_wanted(route)), "")


class FeatureRoutes:
    """The makers of the routes of one process to model providers, and of proxies."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._makers: dict[str, RouteMaker] = {}

    def make(
        self,
        settings: Settings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[FeatureRoute],
    ) -> list[FeatureRoute]:
        """Make the routes of the settings; those of `earlier` that need no change go on.

        `routes` are the routes of streams. Raises StartError.
        """
        made: list[FeatureRoute] = []
        for kind in KINDS:
            if kind.routes and kind.has_routes(settings):
                if kind.name not in self._makers:
                    self._makers[kind.name] = pkgutil.resolve_name(kind.routes)(self._services)
                made += self._makers[kind.name].make(settings, routes, authorities, earlier)
        return made


def check_features(route: Route) -> None:
    """Raise StartError if a feature that a route asks for cannot be made of its settings."""
    for kind in KINDS:
        if kind.check and kind.is_wanted(route):
            pkgutil.resolve_name(kind.check)(route)
