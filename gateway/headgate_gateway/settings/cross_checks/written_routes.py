"""The routes in the order and at the places in which they are written, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.declared import Settings
    from headgate_gateway.settings.reading.values import Place
    from headgate_gateway.settings.route import Route


def written_routes(settings: Settings) -> Iterator[tuple[Place, Route]]:
    """Yield each route with the place of its storage or origin."""
    if not settings.routes:
        route = settings.route_table[0]
        yield ("origin" if route.is_http else "storage",), route
    for index, route in enumerate(settings.routes):
        yield ("routes", index, "origin" if route.is_http else "storage"), route
