"""The kinds of features: each module here declares a `KIND`, and no other module names one."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from gateway.features.kinds import answers, compact, console, mcp, runs, subscriptions, views

if TYPE_CHECKING:
    from gateway.features.kinds.declaration import FeatureKind, RouteSetup
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
)


def set_features(route: StreamRoute, made: RouteSetup) -> None:
    """Give a route the features that its settings ask for; those it has follow the settings."""
    for kind in KINDS:
        make = kind.of_origin if made.route.is_http else kind.of_log
        if make and (kind.is_wanted(made.route) or kind.name in route.features):
            pkgutil.resolve_name(make)(route, made)


def check_features(route: Route) -> None:
    """Raise StartError if a feature that a route asks for cannot be made of its settings."""
    for kind in KINDS:
        if kind.check and kind.is_wanted(route):
            pkgutil.resolve_name(kind.check)(route)
