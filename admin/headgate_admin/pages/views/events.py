"""The page of events: what happened, what was refused, and the states of the alerts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from headgate_admin.model.kinds import SPANS, SPANS_S, Level, OfSpan, Span
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.prose import runbooks
from headgate_admin.pages.rendering import TemplatePage
from headgate_admin.pages.visit import choice, times
from headgate_admin.record.event_record import EventQuery
from headgate_gateway.telemetry.event_journal import EventKind

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/events"
TABS = {"events": "Events", "refusals": "Refusals", "alerts": "Alerts"}
SINCE: dict[str, tuple[str, float]] = {
    "1h": ("1 h", 3600),
    "24h": ("24 h", 24 * 3600),
    "7d": ("7 days", 7 * 24 * 3600),
    "": ("All", 0),
}
LEVELS = {"": "Any level", "bad": "Bad", "warning": "Warning", "good": "Good"}
MEANINGS = {
    "400": "malformed request",
    "401": "no valid credential",
    "403": "not permitted",
    "404": "no such stream",
    "409": "conflict with the stream's state",
    "410": "deleted, or no longer stored",
    "413": "too large",
    "429": "a limit for this client",
    "5xx": "failure of the gateway or its origin",
}


async def show(visit: Visit) -> TemplatePage:
    """Return the page with the list that its query chooses."""
    tab = choice(visit.query.get("show", "events"), tuple(TABS), "show")
    listed = {"events": _events, "refusals": _refusals, "alerts": _alerts}[tab]
    page = {"here": PATH, "tab": tab, "tabs": list(TABS.items()), "now": visit.now}
    return TemplatePage("events.html", {**page, **await listed(visit)})


async def _events(visit: Visit) -> dict[str, object]:
    """Return the newest events that fit the filters."""
    query = visit.query
    kind = choice(query.get("kind", ""), ("", *get_args(EventKind)), "kind")
    level = choice(query.get("level", ""), ("", *get_args(Level)), "level")
    since = choice(query.get("since", ""), tuple(SINCE), "since")
    between = times(visit)
    chosen = {
        "kind": kind,
        "level": level,
        "route": query.get("route", ""),
        "text": query.get("text", ""),
        "since": since,
        "from": query.get("from", ""),
        "to": query.get("to", ""),
    }
    wanted = EventQuery(
        kind=kind or None,
        level=level or None,
        route=chosen["route"],
        text=chosen["text"],
        since=between[0] if between else visit.now - SINCE[since][1] if since else 0.0,
        until=between[1] if between else None,
    )
    listed = visit.console.events(wanted)
    return {
        "events": listed.events[::-1],
        "is_cut": listed.is_cut,
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "kinds": get_args(EventKind),
        "levels": list(LEVELS.items()),
        "spans": [(value, words) for value, (words, _) in SINCE.items()],
        "prefixes": visit.console.prefixes,
        "between": between,
    }


async def _refusals(visit: Visit) -> dict[str, object]:
    """Return responses with 4xx and 5xx, with clients' addresses for those who may see them."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    between = times(visit)
    if between is not None:  # the shortest span that has all of it
        span = next((it for it in SPANS_S if visit.now - SPANS_S[it] <= between[0]), "24h")
    refusals = await visit.console.refusals.view(OfSpan(span), visit.viewer, between)
    return {
        "refusals": refusals,
        "between": between,
        "with_clients": visit.viewer.is_operator,
        "meanings": MEANINGS,
        "span": span,
        "spans": list(SPANS.items()),
        "span_words": "this time" if between else f"the last {SPANS[span]}",
    }


async def _alerts(visit: Visit) -> dict[str, object]:
    """Return the alert rules with their states and runbooks."""
    sections = (await asyncio.to_thread(runbooks)).sections
    return {
        "alerts": visit.console.alerts(),
        "what_to_do": {it.name: it.html for it in sections},
    }


MENU = MenuEntry(
    "Events",
    "M3 3.5h.1M6 3.5h7M3 8h.1M6 8h7M3 12.5h.1M6 12.5h7",
    key="e",
    order=50,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
