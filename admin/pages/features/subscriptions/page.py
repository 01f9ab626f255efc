"""The page itself: with an id in its query it shows that subscription, else the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
from admin.pages.features.subscriptions.changes import change
from admin.pages.features.subscriptions.described import described
from admin.pages.features.subscriptions.listed import listed
from admin.pages.features.subscriptions.paths import PATH
from admin.pages.menu import MenuEntry

if TYPE_CHECKING:
    from admin.console import Console
    from admin.pages.rendering import TemplatePage
    from admin.pages.visit import Visit


async def show(visit: Visit) -> TemplatePage:
    """Return the list, or one subscription. Raises ConsoleError."""
    return await (described(visit) if "id" in visit.query else listed(visit))


def has_any(console: Console) -> bool:
    """Return whether there was a subscription at the last look."""
    return any(
        it.metric.name == "headgate_subscriptions" and it.number > 0
        for it in console.recorder.samples
    )


MENU = MenuEntry(
    "Subscriptions",
    "M9 1.8 3.5 9H8l-1 5.2L12.5 7H8z",
    key="w",
    order=100,
    is_useful=has_any,
)
PAGE = ConsolePage(PATH, show, change, menu=MENU)
