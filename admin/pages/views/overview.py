"""The first page: figures of this gateway over a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from admin.model import Span
from admin.pages.console_page import ConsolePage
from admin.pages.rendering import TemplatePage
from admin.pages.visit import choice

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/"
SPANS: dict[Span, str] = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h"}


async def show(visit: Visit) -> TemplatePage:
    """Return the first page, with figures over the chosen span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    figures = await visit.console.overview(span)
    return TemplatePage(
        "overview.html",
        {
            "here": PATH,
            "instance": figures.instance,
            "overview": figures,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
        },
    )


PAGE = ConsolePage(PATH, show)
