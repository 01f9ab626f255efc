"""The composition of a process's features: what the settings, a request or stored data ask for."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.features.kinds import kinds_of
from headgate_gateway.features.on_demand import FeatureOnDemand, made_feature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.features.feature_route import FeatureRoute, RouteMaker
    from headgate_gateway.features.kinds.declaration import FeatureKind
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.feature import RouteFeature
    from headgate_gateway.routes.services import Services
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.settings import Route, Settings


class ChangedFeatures(NamedTuple):
    """The features that a route has got, and those that it has lost."""

    added: list[RouteFeature]
    removed: list[RouteFeature]


def set_features(route: StreamRoute, made: RouteSetup) -> ChangedFeatures:
    """Give a route the features that its settings ask for; those it has follow the settings."""
    changed = ChangedFeatures([], [])
    kinds = kinds_of(made.settings.features)
    needed = _needed(kinds, made.route)
    gone = route.features.keys() - {kind.name for kind in kinds}
    changed.removed.extend(route.features.pop(name) for name in gone)
    for kind in kinds:
        feature = route.features.get(kind.name)
        if not _is_for(kind, made.route):
            if feature is not None:
                changed.removed.append(route.features.pop(kind.name))
        elif feature is not None:
            feature.renew(made)
        elif (feature := _new_feature(kind, route, made, needed)) is not None:
            route.features[kind.name] = feature
            changed.added.append(feature)
    return changed


def _is_for(kind: FeatureKind, route: Route) -> bool:
    """Return whether a route of these settings has a feature of this kind."""
    return bool(kind.of_origin if route.is_http else kind.of_log) and kind.is_wanted(route)


def _needed(kinds: Sequence[FeatureKind], route: Route) -> set[str]:
    """Return the names of the features that other features of a route need."""
    return {
        name
        for kind in kinds
        if _is_for(kind, route) and not kind.is_on_demand(route)
        for name in kind.needs
    }


def _new_feature(
    kind: FeatureKind, route: StreamRoute, made: RouteSetup, needed: set[str]
) -> RouteFeature | None:
    if kind.is_on_demand(made.route) and kind.name not in needed:
        return FeatureOnDemand(kind, route, made)
    return made_feature(kind, route, made)


async def open_needed(route: StreamRoute, settings: Settings, route_settings: Route) -> None:
    """Open the features of a route that others will need by new settings. Raises HeadgateError."""
    for name in _needed(kinds_of(settings.features), route_settings):
        if (feature := route.features.get(name)) is not None:
            await feature.opened()


def requests_of(settings: Settings, route: Route) -> str:
    """Return the name of the function that makes a route's requests to its origin.

    It is "" where no feature makes them.
    """
    return next(
        (it.requests for it in kinds_of(settings.features) if it.requests and it.is_wanted(route)),
        "",
    )


def check_features(settings: Settings, route: Route) -> None:
    """Raise StartError if a feature that a route asks for cannot be made of its settings."""
    for kind in kinds_of(settings.features):
        if kind.check and kind.is_wanted(route):
            pkgutil.resolve_name(kind.check)(route)


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
        for kind in kinds_of(settings.features):
            if kind.has_routes(settings):
                if kind.name not in self._makers:
                    self._makers[kind.name] = pkgutil.resolve_name(kind.routes)(self._services)
                made += self._makers[kind.name].make(settings, routes, authorities, earlier)
        return made
