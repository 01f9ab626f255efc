"""The first page: figures of this gateway over a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, get_args

from aiohttp import web

from headgate_admin.access.audit import audited
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import SPANS, OfSpan, Span
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage
from headgate_admin.pages.visit import choice
from headgate_gateway.features.questions.loudest import LoudestList

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/"
SHOWN = 5  # rows of a list of the loudest


async def show(visit: Visit) -> TemplatePage:
    """Return the first page, with figures over the chosen span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    figures = await visit.console.overview(OfSpan(span))
    kinds = {route.kind for route in figures.routes}
    has_origins, has_logs = "http" in kinds, bool(kinds - {"http"})
    return TemplatePage(
        "overview.html",
        {
            "instance": figures.instance,
            "overview": figures,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
            "served": figures.served,
            "has_origins": has_origins,
            "has_logs": has_logs,
            **await _loudest(visit),
            "can_change": visit.viewer.is_operator,
        },
    )


async def _loudest(visit: Visit) -> dict[str, object]:
    """Return the first rows of the lists of the loudest; none while no process answers."""
    try:
        loudest = await visit.console.readers.loudest(visit.viewer)
    except ConsoleError:
        loudest = LoudestList((), ())
    refused = sorted((it for it in loudest.clients if it.refused), key=lambda it: -it.refused)
    return {
        "loudest_streams": loudest.streams[:SHOWN],
        "loudest_clients": loudest.clients[:SHOWN],
        "refused_most": refused[:SHOWN],
    }


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
