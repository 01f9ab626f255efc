"""The page with the form that creates a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.model.stream_wishes import NewStream
from headgate_admin.model.streams import OfStream
from headgate_admin.pages.console_page import ConsolePage
from headgate_admin.pages.limit_form import filled, wish_of
from headgate_admin.pages.rendering import TemplatePage, link

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/streams/new"
TYPES = ("application/json", "text/plain", "application/octet-stream")


async def show(visit: Visit) -> TemplatePage:
    """Return the form, with what was entered. Raises ConsoleError for a viewer."""
    if not visit.viewer.is_operator:
        raise ConsoleError(403, f"{visit.viewer.name} may look, but not create streams.")
    prefixes = visit.console.prefixes
    return TemplatePage(
        "new_stream.html",
        {
            "prefixes": prefixes,
            "route": visit.entered.get("route") or visit.query.get("route", prefixes[0]),
            "types": TYPES,
            "entered": visit.entered,
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Create the stream."""
    route, name = visit.entered.get("route", ""), visit.entered.get("name", "").strip()
    wish = wish_of(filled(visit.entered, NewStream), NewStream)
    created = await visit.console.changes.create(OfStream(route, name), wish, visit.viewer)
    if created.row.is_copied:  # an origin has it, and it has no page before it is read
        raise web.HTTPSeeOther(link("/streams", route=route, done="create"))
    raise web.HTTPSeeOther(link("/streams/one", route=route, name=created.row.name, done="create"))


PAGE = ConsolePage(PATH, show, submit)
