"""The page of streams: a part of the list of a route's streams, in a chosen order."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, get_args

from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import OfSpan
from headgate_admin.model.streams import StreamSearch
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage
from headgate_admin.pages.views.stream import DONE
from headgate_admin.pages.visit import choice, streams_url
from headgate_gateway.features.questions.streams import PAGE as PAGE_ROWS
from headgate_gateway.features.questions.streams import StreamOrder

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/streams"
# Orders in which only some streams are listed, and what the others do not have.
BUSY = {
    "readers": "has readers now",
    "rate": "had appends in the last minute",
    "growth": "grew in the last hour",
}
SEARCHES = {"begins": "begin with", "contains": "contain", "glob": "are like"}
COLUMNS = (
    ("name", "Name", False),
    ("size", "Size", True),
    ("growth", "Grows/h", True),
    ("rate", "Appends/s", True),
    ("", "Last append", True),
    ("readers", "Readers", True),
    ("", "State", False),
    ("", "Type", False),
    ("", "Tail", False),
    ("", "Expires", False),
)


async def show(visit: Visit) -> TemplatePage:
    """Return a page of a route's streams, or why there are none where the log cannot be read."""
    routes = {route.prefix: route for route in (await visit.console.routes(OfSpan())).routes}
    route = visit.query.get("route", next(iter(routes)))
    order = choice(visit.query.get("order", "name"), get_args(StreamOrder), "order")
    by = choice(visit.query.get("by", "begins"), tuple(SEARCHES), "by")
    text, after = visit.query.get("text", ""), visit.query.get("after", "")
    search = StreamSearch(route, **{by: text}, order=order, after=after, limit=PAGE_ROWS)
    listed, trouble, is_cut = None, None, False
    try:
        listed = await visit.console.streams(search)
        # Its time was over before it had compared all names.
        is_cut = bool(listed.compared and listed.after) and len(listed.rows) < PAGE_ROWS
    except ConsoleError as refusal:
        trouble = refusal
    return TemplatePage(
        "streams.html",
        {
            "prefixes": list(routes),
            "route": route,
            "order": order,
            "by": by,
            "searches": SEARCHES,
            "busy": BUSY,
            "text": text,
            "after": after,
            "is_cut": is_cut,
            "page": listed,
            "can_change": visit.viewer.is_operator,
            "trouble": trouble,
            "columns": COLUMNS,
            "commands": first_commands(visit, route),
        },
    )


def first_commands(visit: Visit, prefix: str) -> list[tuple[str, str]]:
    """Return the commands that the README begins with, for the streams of a route.

    If the route needs a token, the commands send that of a variable of the shell.
    """
    settings = visit.console.setup.settings
    base = f"{streams_url(visit)}{prefix}/chat"
    url, following = shlex.quote(base), shlex.quote(f"{base}?offset=-1&live=sse")
    content = "-H 'Content-Type: application/json'"
    is_guarded = any(it.prefix == prefix and settings.auth_of(it) for it in settings.route_table)
    token = ' -H "Authorization: Bearer $TOKEN"' if is_guarded else ""
    return [
        (f"curl -i -X PUT {url} {content}{token}", "the command that creates a stream"),
        (
            f'curl -i -X POST {url} {content}{token} -d \'{{"token": "Hello"}}\'',
            "the command that appends",
        ),
        (f"curl -N {following}{token}", "the command that follows"),
    ]


MENU = MenuEntry(
    "Streams",
    "M2 4h12M2 8h12M2 12h8",
    key="s",
    order=30,
)
PAGE = ConsolePage(PATH, show, menu=MENU, done=DONE)
