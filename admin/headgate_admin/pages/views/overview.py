"""The first page: figures of this gateway over a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, get_args
from urllib.parse import urlsplit

from aiohttp import web

from headgate_admin.access.audit import audited
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import SPANS, OfSpan, Span
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage
from headgate_admin.pages.show import duration, with_unit
from headgate_admin.pages.views.streams import first_commands
from headgate_admin.pages.visit import choice
from headgate_gateway.settings.reading.units import DAY_S, MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_admin.model.kinds import StateLevel
    from headgate_admin.model.overview import RouteView
    from headgate_admin.pages.visit import Visit

PATH = "/"
MOST_ROUTES = 8  # rows: with them, the strip and the charts fit a screen
FEWEST_STREAMS = 5  # beside few routes; there are as many as of these else
IN_NEED = ("bad", "warning")  # the worst first
# What is said of a place on this page, besides the facts that are a warning or worse.
PLACE = {
    "Data file": "{}",
    "Time until full": "full in {}",
    "Memory of the primary": "{}",
    "Replicas": "{} replicas",
    "Requests at the origin now": "{} under way",
}
FAR_S = 90 * DAY_S  # a disk that is full later than that is nobody's worry now
SOON_S = MINUTE_S  # nobody reads how much less it is


async def show(visit: Visit) -> TemplatePage:
    """Return the first page, with figures over the chosen span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    figures = await visit.console.overview(OfSpan(span))
    kinds = {route.kind for route in figures.routes}
    routes = sorted(figures.routes, key=_need)
    shown, rest = routes[:MOST_ROUTES], routes[MOST_ROUTES:]
    return TemplatePage(
        "overview.html",
        {
            "instance": figures.instance,
            "overview": figures,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
            "served": figures.served,
            "has_origins": "http" in kinds,
            "has_logs": bool(kinds - {"http"}),
            "has_cache": bool(kinds - {"file", "memory"}),
            "routes": shown,
            "places": {it.prefix: list(_place(it)) for it in shown},
            "rest_requests": sum(it.figures.requests or 0.0 for it in rest),
            "rest_attention": sum(it.state.level in IN_NEED for it in rest),
            **await _loudest(visit, max(FEWEST_STREAMS, len(shown))),
            "commands": first_commands(visit, figures.routes[0].prefix),
            "can_change": visit.viewer.is_operator,
        },
    )


def _need(route: RouteView) -> tuple[int, float]:
    """Return the place of a route in the table: those in need of attention, then by requests."""
    level = route.state.level
    need = IN_NEED.index(level) if level in IN_NEED else len(IN_NEED)
    return need, -(route.figures.requests or 0.0)


def _place(route: RouteView) -> Iterator[tuple[str, StateLevel | None]]:
    """Yield what a storage or an origin is and what to know of it, in words, with its level."""
    host = urlsplit(route.origin).netloc.rpartition("@")[2]
    yield " ".join(filter(None, ("origin" if route.kind == "http" else route.kind, host))), None
    for fact in route.facts:
        if fact.level in IN_NEED:
            value = with_unit(fact.value, fact.unit)
            if fact.unit == "seconds" and isinstance(fact.value, float) and fact.value < SOON_S:
                value = "a minute"
            words = PLACE.get(fact.name, "{}" if fact.name == host else f"{fact.name} {{}}")
            yield words.format(value), fact.level
    if route.figures.p99 is not None:
        yield f"p99 {duration(route.figures.p99)}", None
    for fact in route.facts:
        if fact.name in PLACE and fact.value and not isinstance(fact.value, str) and not fact.level:
            is_far = fact.unit == "seconds" and fact.value > FAR_S
            if not is_far:
                yield PLACE[fact.name].format(with_unit(fact.value, fact.unit)), None


async def _loudest(visit: Visit, rows: int) -> dict[str, object]:
    """Return the first rows of the loudest streams; none while no process answers."""
    try:
        streams = (await visit.console.readers.loudest(visit.viewer)).streams
    except ConsoleError:
        streams = ()
    return {"loudest": streams[:rows], "whole_load": sum(it.load for it in streams)}


async def submit(visit: Visit) -> NoReturn:
    """Mute an incident, or let it count again. Raises ConsoleError."""
    incidents = visit.console.recorder.incidents
    what = "unmute" if "unmute" in visit.entered else "mute"
    identity = visit.entered.get(what, "")
    with audited(visit.viewer, what, "", identity):
        if what == "mute":
            incidents.mute(identity, visit.viewer.name, visit.now)
        else:
            incidents.unmute(identity)
    raise web.HTTPSeeOther(PATH)


MENU = MenuEntry(
    "Overview",
    "M2 13V7h3v6M6.5 13V3h3v10M11 13V9h3v4",
    key="o",
    order=10,
)
PAGE = ConsolePage(PATH, show, submit, MENU)
