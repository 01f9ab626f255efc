"""The page of events: what happened, what was refused, and the states of the alerts."""

from __future__ import annotations

import asyncio
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from headgate_admin.model.kinds import SPANS, SPANS_S, Level, OfSpan, Span
from headgate_admin.pages.charts import hour_bars
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.prose import runbooks
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice, times
from headgate_admin.record.event_record import EventQuery
from headgate_gateway.telemetry.event_journal import EventKind

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/events"
TABS = {"events": "Events", "refusals": "Refusals", "alerts": "Alerts"}
FILTERS = ("kind", "level", "route", "stream", "text", "from", "to")
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
    between = times(visit)
    chosen = {name: query.get(name, "") for name in FILTERS}
    kept = EventQuery(
        kind=kind or None,
        route=chosen["route"],
        stream=chosen["stream"],
        text=chosen["text"],
    )
    since, until = between or (0.0, None)
    record = visit.console.recorder.events.record
    listed = record.select(replace(kept, level=level or None, since=since, until=until))
    hours = record.hours(kept, visit.now)
    return {
        "events": sorted(listed.events, key=attrgetter("at"), reverse=True),
        "is_cut": listed.is_cut,
        "bars": hour_bars(hours, since, lambda **hour: link(PATH, **{**chosen, **hour})),
        "totals": sum(hours.values(), Counter()),
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "kinds": get_args(EventKind),
        "levels": list(LEVELS.items()),
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
