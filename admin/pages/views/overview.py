"""The first page: figures of this gateway over a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from admin.errors import NotTold
from admin.model.kinds import Span
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.spans import SPANS, figures_from, first_known
from admin.pages.visit import choice
from gateway.features.questions.loudest import LoudestList

if TYPE_CHECKING:
    from collections.abc import Iterable

    from admin.model.overview import Overview, RouteView
    from admin.pages.visit import Visit

PATH = "/"
SHOWN = 5  # rows of a list of the loudest


# Where an operator sees whom an alert is about, and the words of the link.
EVIDENCE = {
    **dict.fromkeys(
        (
            "HeadgateRefuses",
            "HeadgateServerErrors",
            "HeadgateErrorBudgetBurns",
            "HeadgateErrorBudgetBurnsFast",
        ),
        ("/events?show=refusals", "Show refusals"),
    ),
    **dict.fromkeys(
        ("HeadgateEventLoopStalls", "HeadgateFewFilesLeft"), ("/gateways", "Show gateways")
    ),
    "HeadgateSlowReaders": ("/clients", "Show readers"),
}


async def show(visit: Visit) -> TemplatePage:
    """Return the first page, with figures over the chosen span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    figures = from_first_data(await visit.console.overview(span))
    kinds = {route.kind for route in figures.routes}
    has_origins, has_logs = "http" in kinds, bool(kinds - {"http"})
    return TemplatePage(
        "overview.html",
        {
            "here": PATH,
            "instance": figures.instance,
            "overview": figures,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
            "served": figures.served,
            "has_origins": has_origins,
            "has_logs": has_logs,
            "evidence": EVIDENCE,
            **await _loudest(visit),
        },
    )


async def _loudest(visit: Visit) -> dict[str, object]:
    """Return the first rows of the lists of the loudest; none while no process answers."""
    try:
        loudest = await visit.console.readers.loudest(visit.viewer)
    except NotTold:
        loudest = LoudestList((), ())
    refused = sorted((it for it in loudest.clients if it.refused), key=lambda it: -it.refused)
    return {
        "loudest_streams": loudest.streams[:SHOWN],
        "loudest_clients": loudest.clients[:SHOWN],
        "refused_most": refused[:SHOWN],
    }


def from_first_data(figures: Overview) -> Overview:
    """Return the overview from its first moment with data, with the same marks in all charts."""
    begin = first_known(line.values for line in figures.by_transport.lines)
    marks = figures.by_result.marks
    return replace(
        figures_from(figures, begin, marks),
        writes=figures_from(figures.writes, begin, marks),
        routes=routes_from(figures.routes, begin),
    )


def routes_from(routes: Iterable[RouteView], begin: int) -> tuple[RouteView, ...]:
    """Return the routes with histories from the moment `begin` on."""
    return tuple(
        replace(it, figures=replace(it.figures, history=it.figures.history[begin:]))
        for it in routes
    )


MENU = MenuEntry(
    "Overview",
    "M2 13V7h3v6M6.5 13V3h3v10M11 13V9h3v4",
    key="o",
    order=10,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
