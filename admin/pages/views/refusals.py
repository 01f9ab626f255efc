"""The page of refusals: responses with 4xx and 5xx by cause and route, and the newest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from admin.model.kinds import Span
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.spans import SPANS, first_known
from admin.pages.visit import choice, frame

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/refusals"
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
    """Return the page, with the addresses of clients for those who may see them."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    with_clients = visit.console.readers.shows_clients(visit.viewer)
    refusals = await visit.console.refusals.view(span, with_clients=with_clients)
    begin = first_known(it.history for it in refusals.causes)
    causes = tuple(replace(it, history=it.history[begin:]) for it in refusals.causes)
    return TemplatePage(
        "refusals.html",
        {
            "here": PATH,
            **await frame(visit),
            "refusals": replace(refusals, causes=causes),
            "with_clients": with_clients,
            "meanings": MEANINGS,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
        },
    )


MENU = MenuEntry(
    "Refusals",
    "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM3.8 3.8l8.4 8.4",
    key="f",
    order=80,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
