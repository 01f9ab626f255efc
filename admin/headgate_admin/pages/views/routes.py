"""The page of routes: a card for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.model.kinds import OfSpan
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/routes"


async def show(visit: Visit) -> TemplatePage:
    """Return the page with a card for each route."""
    routes = (await visit.console.routes(OfSpan())).routes
    return TemplatePage("routes.html", {"here": PATH, "routes": routes})


MENU = MenuEntry(
    "Routes",
    "M3 4h4l2 4h4M3 12h4l2-4",
    key="r",
    order=20,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
