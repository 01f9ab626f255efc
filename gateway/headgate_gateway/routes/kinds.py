"""The kinds of routes to streams: each is declared here, and its modules are loaded when needed."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.settings import Route


class RouteKind(NamedTuple):
    """A kind of routes, by the settings that it `serves`.

    `make` names the function that returns the route of a RouteSetup. It raises StartError.
    """

    serves: Callable[[Route], bool]
    make: str


KINDS = (
    RouteKind(lambda route: not route.is_http, "headgate_gateway.streams.route:hosted_route"),
    # With its parts 1 MB.
    RouteKind(lambda route: route.is_http, "headgate_gateway.edge.route:EdgeRoute"),
)


def make_route(setup: RouteSetup) -> StreamRoute:
    """Make the route that its settings describe, without features. Raises StartError."""
    kind = next(it for it in KINDS if it.serves(setup.route))
    made: StreamRoute = pkgutil.resolve_name(kind.make)(setup)
    return made
