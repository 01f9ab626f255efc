"""The settings and parts of which a route is made, or renewed by a reload."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gateway.access.contract import OPEN, RouteAccess
from gateway.live.source import FeedSettings
from gateway.protocol.cache_headers import Freshness, route_tag
from gateway.settings.arrays.model_route import route_of_streams

if TYPE_CHECKING:
    from gateway.routes.services import Services
    from gateway.settings import Route, Settings


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
        it = self.settings
        return FeedSettings(it.long_poll_timeout, it.sse_heartbeat, it.sse_max_age, it.drain_time)

    def freshness(self, *, is_private: bool) -> Freshness:
        """Return how long caches may keep the route's responses."""
        route = self.route
        return Freshness(
            route.chunk_lifetime,
            route.stale_while_revalidate,
            route.tail_max_age,
            route_tag(route.prefix),
            is_private,
            route.tail_directive,
            self._private_folders(),
            route.closed_lifetime,
            route.keeps_offsets,
        )

    def _private_folders(self) -> tuple[str, ...]:
        """Return the beginnings of paths on the route whose responses are for their owners only."""
        settings = self.settings
        public = {it.prefix for it in settings.models if it.public}
        own = [it for it in settings.written if it.prefix not in public]
        places = [(it.streams, route_of_streams(it, settings.route_table)) for it in own]
        return tuple(f"{at}/" for at, on in places if on and on.prefix == self.route.prefix)
