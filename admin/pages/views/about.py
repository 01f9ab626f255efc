"""The page about this gateway: versions, file formats, limits of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
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


PAGE = ConsolePage(PATH, show)
