"""The settings and parts of which a route is made, or renewed by a reload."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from headgate_gateway.access.contract import OPEN, RouteAccess
from headgate_gateway.live.source import FeedSettings
from headgate_gateway.protocol.cache_headers import Freshness, route_tag
from headgate_gateway.settings.arrays.model_route import private_folders

if TYPE_CHECKING:
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import Route, Settings


@dataclass(frozen=True)
class RouteSetup:
    """The settings and parts of which a route and its features are made, or renewed by a reload.

    `origin_requests` names the function of a feature that makes the requests to an HTTP origin; ""
    where no feature does.
    """

    settings: Settings
    route: Route
    services: Services
    access: RouteAccess = OPEN
    origin_requests: str = ""
    is_reload: bool = False

    @cached_property
    def feeds(self) -> FeedSettings:
        """The durations that the route's feeds keep to."""
        live = self.settings.live
        return FeedSettings(live.long_poll_timeout, live.sse_heartbeat, live.sse_max_age)

    def freshness(self, *, is_private: bool) -> Freshness:
        """Return how long caches may keep the route's responses."""
        route, settings = self.route, self.settings
        return Freshness(
            route.chunk_lifetime,
            route.stale_while_revalidate,
            route.tail_max_age,
            route_tag(route.prefix),
            is_private,
            route.tail_directive,
            private_folders(settings.written, settings.route_table, route.prefix),
            route.closed_lifetime,
            route.keeps_offsets,
        )
