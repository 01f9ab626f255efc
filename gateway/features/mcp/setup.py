"""Set up the events of a route as its settings say, at the start and after a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import StartError
from gateway.features.mcp.event_types import event_types
from gateway.features.mcp.route_events import RouteEvents
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.features.mcp.reading import EventReader
    from gateway.features.mcp.route_events import EventRoute
    from gateway.runtime.context import Context
    from gateway.settings import Route as RouteSettings


def check_events(settings: RouteSettings) -> None:
    """Raise StartError if the file of event types is malformed."""
    if settings.mcp_events_file:
        event_types(settings.mcp_events_file)


def set_events(
    route: EventRoute,
    settings: RouteSettings,
    shared: Context,
    make_reader: Callable[[], EventReader],
) -> None:
    """Give a route its events for hosts of MCP, if the settings say so. Raises StartError."""
    types = event_types(settings.mcp_events_file) if settings.mcp_events else None
    events = route.events
    if types is None:
        if isinstance(events, RouteEvents):
            events.close()
        route.events = None
    elif isinstance(events, RouteEvents):
        events.renew(types)
    else:
        route.events = RouteEvents(route, make_reader(), types, shared.limits)


def renew_events(
    route: EventRoute,
    settings: RouteSettings,
    shared: Context,
    make_reader: Callable[[], EventReader],
) -> None:
    """Let the events of a route follow new settings, whose file was checked a moment ago."""
    try:
        set_events(route, settings, shared, make_reader)
    except StartError as refusal:
        log.error("mcp_events.file_refused", route=route.prefix, reason=refusal.detail)
