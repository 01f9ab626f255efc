"""Set up the events of a route as its settings say, at the start and after a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import StartError
from gateway.features.mcp.event_types import event_types
from gateway.features.mcp.mcp_requests import NAME, EventsOfRoute
from gateway.features.mcp.route_events import RouteEvents
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.route import EdgeRoute
    from gateway.features.mcp.reading import EventReader
    from gateway.routes.setup import RouteSetup
    from gateway.settings import Route as RouteSettings
    from gateway.streams.route import HostedRoute


def check_events(settings: RouteSettings) -> None:
    """Raise StartError if the file of event types is malformed."""
    if settings.mcp_events_file:
        event_types(settings.mcp_events_file)


def set_events(
    route: HostedRoute | EdgeRoute, made: RouteSetup, make_reader: Callable[[], EventReader]
) -> None:
    """Give a route its events for hosts of MCP, if the settings say so.

    Raises StartError at a start. At a reload the file was checked a moment ago: if that is no
    longer true, the events stay as they are.
    """
    feature, settings = route.features.get(NAME), made.route
    try:
        types = event_types(settings.mcp_events_file) if settings.mcp_events else None
    except StartError as refusal:
        if not made.is_reload:
            raise
        log.error("mcp_events.file_refused", route=route.prefix, reason=refusal.detail)
        return
    if isinstance(feature, EventsOfRoute):
        if types is None:
            feature.end()
            del route.features[NAME]
        else:
            feature.events.renew(types)
    elif types is not None:
        events = RouteEvents(route, make_reader(), types, made.services.limits)
        route.features[NAME] = EventsOfRoute(route, events, made.services)
