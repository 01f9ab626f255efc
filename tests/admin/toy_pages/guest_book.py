"""A page with a form that is all in this module and its template: what it takes to add one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from admin.access.audit import audited
from admin.errors import ConsoleError
from admin.pages.console_page import ConsolePage
from admin.pages.rendering import TemplatePage, link

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/guest-book"
LONGEST = 20


async def show(visit: Visit) -> TemplatePage:
    """Return the form, with what was entered if that was refused."""
    return TemplatePage(
        "guest_book.html",
        {
            "signed": visit.query.get("signed", ""),
            "name": visit.entered.get("name", ""),
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Take the name of a guest. Raises ConsoleError for a long one."""
    name = visit.entered.get("name", "")
    with audited(visit.viewer, "sign", "", name):
        if len(name) > LONGEST:
            raise ConsoleError(400, f"a name has at most {LONGEST} letters")
    raise web.HTTPSeeOther(link(PATH, signed=name))


PAGE = ConsolePage(PATH, show, submit)
