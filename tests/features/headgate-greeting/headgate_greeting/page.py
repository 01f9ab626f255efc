"""The page of the greeting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage
from headgate_greeting.questions import CountGreetings, GreetingCount

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit


async def show(visit: Visit) -> TemplatePage:
    """Return the page."""
    word = visit.console.setup.settings.section("greeting").word
    counts = await visit.ask("greeting", CountGreetings(), GreetingCount)
    total = sum(it.count for it in counts)  # one of each process
    return TemplatePage("greeting.html", {"word": word, "total": total})


PAGE = ConsolePage("/greeting", show, menu=MenuEntry("Greeting", "M2 4h12M2 8h12", order=1_000))
