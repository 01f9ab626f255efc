"""The page that deletes all streams below a prefix: their count, its confirmation, the progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.pages.console_page import ConsolePage
from headgate_admin.pages.limit_form import wish_of
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice
from headgate_admin.streams.deletion import DeletionReference, DeletionStart, DeletionWish

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/streams/delete"


async def show(visit: Visit) -> TemplatePage:
    """Return the page with the deletion of the route, or of any, that was counted last."""
    chosen = {"route": "", "prefix": "", **visit.query, **visit.entered}
    return TemplatePage(
        "delete_streams.html",
        {
            "prefixes": visit.console.prefixes,
            "route": chosen["route"],
            "prefix": chosen["prefix"],
            "deletion": visit.console.deletions.newest(chosen["route"]),
            "can_change": visit.viewer.is_operator,
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Count streams, delete those that were counted, or stop. Raises ConsoleError."""
    entered, deletions = visit.entered, visit.console.deletions
    action = choice(entered.get("do", ""), ("count", "start", "stop"), "do")
    if action == "count":
        chosen = {name: entered.get(name, "") for name in ("route", "prefix")}
        found = await deletions.count(wish_of(chosen, DeletionWish), visit.viewer)
    elif action == "start":
        number = entered.get("confirm", "").strip().replace(",", "")  # as the page shows it
        if not number.isdecimal():
            raise ConsoleError(400, "Enter the number of streams to confirm: nothing was done.")
        start = wish_of({"id": entered.get("id", ""), "confirm": number}, DeletionStart)
        found = deletions.start(start, visit.viewer)
    else:
        found = await deletions.stop(DeletionReference(entered.get("id", "")), visit.viewer)
    # An empty prefix is all of the route, so the form keeps the one that was entered.
    raise web.HTTPSeeOther(link(PATH, route=found.route, prefix=found.prefix))


PAGE = ConsolePage(PATH, show, submit)
