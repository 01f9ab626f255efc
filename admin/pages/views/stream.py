"""The page of a stream: its messages, readers, producers or metadata, and its changes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

from admin.errors import NotTold
from admin.model import MessagePlace
from admin.pages.rendering import TemplatePage
from admin.pages.visit import address, choice, frame
from admin.streams.client import LATEST
from gateway.protocol.bodies.content import is_json

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/stream"
MESSAGES = 50  # on a page without scripts
TABS = {
    "messages": "Messages",
    "readers": "Readers",
    "producers": "Producers",
    "metadata": "Metadata",
}
OPERATOR_TABS = TABS | {"change": "Change"}
DANGERS = (
    ("close", "Close", "Close it: readers come to its end, and nothing can be appended again."),
    ("delete", "Delete", "Delete it, with all that was appended."),
)
DONE = {"append": "Appended.", "close": "The stream is closed.", "delete": "The stream is deleted."}


async def page(visit: Visit) -> TemplatePage:
    """Return the page of a stream with its chosen tab. Raises NotTold."""
    route, name = visit.query.get("route", ""), visit.query.get("name", "")
    tabs = OPERATOR_TABS if visit.viewer.role == "operator" else TABS
    if visit.query.get("tab") in OPERATOR_TABS.keys() - tabs.keys():
        raise NotTold(403, f"{visit.viewer.name} may look, but not change streams.")
    tab = choice(visit.query.get("tab", "messages"), tuple(tabs), "tab")
    described = await visit.console.stream(route, name)
    told: dict[str, object] = {
        "here": "/streams",  # the entry of the menu
        **await frame(visit),
        "route": route,
        "name": name,
        "described": described,
        "tabs": list(tabs.items()),
        "tab": tab,
        "is_json": is_json(described.row.content_type or ""),
        "dangers": DANGERS,
        "done": DONE.get(visit.query.get("done", "")),
        "refusal": None,
        "content": "",
        "now": visit.now,
    }
    if tab == "messages" and visit.whole:  # the page's script follows them
        told |= await _messages(visit, route, name)
    return TemplatePage("stream.html", told)


async def _messages(visit: Visit, route: str, name: str) -> dict[str, object]:
    """Return what the tab of messages shows: a part of them, or why there is none."""
    offset = visit.query.get("offset", "") or LATEST
    skip = visit.query.get("skip", "0")
    place = MessagePlace(offset, int(skip) if skip.isascii() and skip.isdecimal() else 0)
    told, trouble = None, None
    try:
        told = await visit.console.messages(route, name, place, MESSAGES)
    except NotTold as refusal:
        trouble = refusal
    begin = told.begin.offset if told else "-1" if offset == LATEST else offset
    # A name is percent-encoded where a URL wants it, unless somebody made it up.
    path = quote(f"{route}/{name}", safe="/%:@!$&'()*+,;=~")
    url = f"http://{address(visit)}{path}?offset={quote(begin, safe='')}"
    return {
        "told": told,
        "trouble": trouble,
        "offset": offset,
        "curl": f"curl -i {shlex.quote(url)}",
    }
