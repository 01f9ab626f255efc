"""The page of the configuration: every setting with its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.pages.console_page import ConsolePage
from admin.pages.rendering import TemplatePage
from admin.pages.visit import frame

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/configuration"


async def show(visit: Visit) -> TemplatePage:
    """Return every setting; those that differ from their defaults come first."""
    settings = visit.console.configuration().settings
    groups = [
        ("Differs from the default", [it for it in settings if it.differs]),
        ("As the default", [it for it in settings if not it.differs]),
    ]
    return TemplatePage(
        "configuration.html", {"here": PATH, **await frame(visit), "groups": groups}
    )


PAGE = ConsolePage(PATH, show)
