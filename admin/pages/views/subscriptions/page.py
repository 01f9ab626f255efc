"""The page itself: with an id in its query it shows that subscription, else the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
from admin.pages.views.subscriptions.changes import change
from admin.pages.views.subscriptions.described import described
from admin.pages.views.subscriptions.listed import listed
from admin.pages.views.subscriptions.paths import PATH

if TYPE_CHECKING:
    from admin.pages.rendering import TemplatePage
    from admin.pages.visit import Visit


async def show(visit: Visit) -> TemplatePage:
    """Return the list, or one subscription. Raises NotTold."""
    return await (described(visit) if "id" in visit.query else listed(visit))


PAGE = ConsolePage(PATH, show, change)
