"""The page about this gateway: versions, file formats, limits of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.visit import frame

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/about"


async def show(visit: Visit) -> TemplatePage:
    """Return the versions, the file formats and the limits of the process."""
    facts = visit.console.about()
    groups = [
        ("Versions", facts.versions),
        ("File formats", facts.formats),
        ("Limits of the process", facts.limits),
    ]
    return TemplatePage("about.html", {"here": PATH, **await frame(visit), "groups": groups})


MENU = MenuEntry(
    "About",
    "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 7.5v3.5M8 5v.2",
    key="a",
    order=150,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
