"""The page of events: what happened, when, for how long, and what it concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from admin.model.kinds import Level
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.visit import choice, frame
from admin.record.event_queries import USUAL_EVENTS, EventQuery, select
from gateway.telemetry.event_journal import EventKind

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/events"
SINCE: dict[str, tuple[str, float]] = {
    "1h": ("1 h", 3600),
    "24h": ("24 h", 24 * 3600),
    "7d": ("7 days", 7 * 24 * 3600),
    "": ("All", 0),
}
LEVELS = {"": "Any level", "bad": "Bad", "warning": "Warning", "good": "Good"}


async def show(visit: Visit) -> TemplatePage:
    """Return the page with the newest events that fit the filters."""
    query = visit.query
    kind = choice(query.get("kind", ""), ("", *get_args(EventKind)), "kind")
    level = choice(query.get("level", ""), ("", *get_args(Level)), "level")
    since = choice(query.get("since", ""), tuple(SINCE), "since")
    chosen = {
        "kind": kind,
        "level": level,
        "route": query.get("route", ""),
        "text": query.get("text", ""),
        "since": since,
    }
    wanted = EventQuery(
        kind=kind or None,
        level=level or None,
        route=chosen["route"],
        text=chosen["text"],
        since=visit.now - SINCE[since][1] if since else 0.0,
    )
    listed = select(visit.console.recorder.events.record, wanted, USUAL_EVENTS)
    return TemplatePage(
        "events.html",
        {
            "here": PATH,
            **await frame(visit),
            "events": listed.events[::-1],
            "is_cut": listed.is_cut,
            "chosen": chosen,
            "is_filtered": any(chosen.values()),
            "kinds": get_args(EventKind),
            "levels": list(LEVELS.items()),
            "spans": [(value, words) for value, (words, _) in SINCE.items()],
            "prefixes": [route.prefix for route in await visit.console.routes()],
            "now": visit.now,
        },
    )


MENU = MenuEntry(
    "Events",
    "M3 3.5h.1M6 3.5h7M3 8h.1M6 8h7M3 12.5h.1M6 12.5h7",
    key="v",
    order=70,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
