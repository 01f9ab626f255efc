"""The page of the configuration: every setting with its value, and what a reload would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage, link

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/configuration"


async def show(visit: Visit) -> TemplatePage:
    """Return every setting; those that differ from their defaults come first."""
    settings = visit.console.configuration().settings
    groups = [
        ("In force, other than the default", [it for it in settings if it.differs]),
        ("In force, as the default", [it for it in settings if not it.differs]),
    ]
    return TemplatePage(
        "configuration.html",
        {
            "groups": groups,
            "pending": await visit.console.reloads.pending(),
            "can_reload": visit.viewer.is_operator,
            "is_reloaded": visit.query.get("done") == "reload",
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Put the settings in force as they are written now. Raises ConsoleError if that is refused."""
    await visit.console.reloads.reload(visit.viewer)
    raise web.HTTPSeeOther(link(PATH, done="reload"))


MENU = MenuEntry(
    "Configuration",
    "M2 5h7M11 5h3M9 3v4M2 11h3M7 11h7M5 9v4",
    key="f",
    order=80,
)
PAGE = ConsolePage(PATH, show, submit, menu=MENU)
