"""The page of the greeting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage

if TYPE_CHECKING:
    from admin.pages.visit import Visit


async def show(visit: Visit) -> TemplatePage:
    """Return the page."""
    values = {
        "instance": await visit.console.instance(),
        "word": visit.console.setup.settings.section("greeting").word,
        "here": "/greeting",
    }
    return TemplatePage("greeting.html", values)


PAGE = ConsolePage("/greeting", show, menu=MenuEntry("Greeting", "M2 4h12M2 8h12", order=1_000))
