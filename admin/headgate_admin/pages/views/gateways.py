"""The page of gateways: each process of this one, all that share a log with it, what runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/gateways"


async def show(visit: Visit) -> TemplatePage:
    """Return the gateways and processes at the last look, with versions, formats and limits."""
    facts = visit.console.about()
    return TemplatePage(
        "gateways.html",
        {
            "view": visit.console.gateways(),
            "groups": [
                ("Versions", facts.versions),
                ("File formats", facts.formats),
                ("Limits of the process", facts.limits),
            ],
        },
    )


MENU = MenuEntry(
    "Gateways",
    "M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM9 9h4v4H9z",
    key="g",
    order=70,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
