"""The page of a stream: its messages, readers, producers or metadata, and its changes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.model.stream_wishes import AppendBody, OfLimits
from headgate_admin.model.streams import OfMessages, OfStream
from headgate_admin.pages.console_page import ConsolePage
from headgate_admin.pages.limit_form import LIMITS, changed_limits
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice, streams_url
from headgate_admin.streams.client import LATEST
from headgate_gateway.features.console.name_search import spoken
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headgate_admin.pages.visit import Visit

PATH = "/streams/one"
MESSAGES = 50  # on a page without scripts
MOST_DIGITS = 9  # of a number of messages, of which a response has fewer
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
DONE = {
    "create": "The stream is created.",
    "limit": "The limits are set.",
    "append": "Appended.",
    "close": "The stream is closed.",
    "delete": "The stream is deleted.",
}


async def show(visit: Visit) -> TemplatePage:
    """Return the page of a stream with its chosen tab. Raises ConsoleError."""
    route, name = visit.query.get("route", ""), visit.query.get("name", "")
    tabs = OPERATOR_TABS if visit.viewer.is_operator else TABS
    if visit.query.get("tab") in OPERATOR_TABS.keys() - tabs.keys():
        raise ConsoleError(403, f"{visit.viewer.name} may look, but not change streams.")
    tab = choice(visit.query.get("tab", "messages"), tuple(tabs), "tab")
    described = await visit.console.stream(OfStream(route, name))
    drawn = visit.console.histories.add(route, described.row, visit.now)
    values: dict[str, object] = {
        "route": route,
        "drawn": drawn,
        "name": name,
        "described": described,
        "tabs": list(tabs.items()),
        "tab": tab,
        "is_json": is_json(described.row.content_type or ""),
        "dangers": DANGERS,
        "content": visit.entered.get("content", ""),
        "limit_fields": LIMITS,
        "entered": visit.entered if visit.entered.get("action") == "limit" else None,
    }
    if tab == "messages" and visit.whole:  # the page's script follows them
        values |= await _messages(visit, route, name)
    return TemplatePage("stream.html", values)


async def _messages(visit: Visit, route: str, name: str) -> dict[str, object]:
    """Return what the tab of messages shows: a part of them, or why there is none."""
    query = visit.query
    text = query.get("text", "")
    offset = query.get("offset", "") or (BEGINNING if text else LATEST)
    skip = query.get("skip", "0")
    is_number = skip.isascii() and skip.isdecimal() and len(skip) <= MOST_DIGITS
    first = int(skip) if is_number else 0
    page, trouble = None, None
    try:
        page = await visit.console.messages(OfMessages(route, name, offset, first, MESSAGES, text))
    except ConsoleError as refusal:
        trouble = refusal
    begin = page.begin.offset if page else "-1" if offset == LATEST else offset
    # A name is percent-encoded where a URL wants it, unless somebody made it up.
    path = quote(f"{route}/{name}", safe="/%:@!$&'()*+,;=~")
    url = f"{streams_url(visit)}{path}?offset={quote(begin, safe='')}"
    return {
        "page": page,
        "trouble": trouble,
        "offset": offset,
        "text": text,
        "curl": f"curl -i {shlex.quote(url)}",
    }


async def submit(visit: Visit) -> NoReturn:
    """Change the stream of the page."""
    action = visit.entered.get("action", "")
    stream = OfStream(visit.query.get("route", ""), visit.query.get("name", ""))
    await CHANGES[choice(action, tuple(CHANGES), "action")](visit, stream)
    if action == "delete":
        raise web.HTTPSeeOther(link("/streams", route=stream.route, done=action))
    here = {"route": stream.route, "name": stream.name, "tab": "change"}
    raise web.HTTPSeeOther(link(PATH, **here, done=action))


async def _append(visit: Visit, stream: OfStream) -> None:
    """Append what was entered, as the stream's own type."""
    # Browsers end each line of a form with both; people mean the second.
    content = visit.entered.get("content", "").replace("\r\n", "\n")
    await visit.console.changes.append(AppendBody(stream.route, stream.name, content), visit.viewer)


async def _close(visit: Visit, stream: OfStream) -> None:
    _check_meant(visit, stream.name)
    await visit.console.changes.close(stream, visit.viewer)


async def _delete(visit: Visit, stream: OfStream) -> None:
    _check_meant(visit, stream.name)
    await visit.console.changes.delete(stream, visit.viewer)


async def _limit(visit: Visit, stream: OfStream) -> None:
    """Set the limits that were entered."""
    now = (await visit.console.stream(stream)).limits
    if now is None:
        raise ConsoleError(501, "the server there decides what it keeps: change the limits there")
    wish = changed_limits(visit.entered, now)
    if wish == OfLimits():
        raise ConsoleError(400, "These are the limits that the stream has: nothing was changed.")
    await visit.console.changes.limit(stream, wish, visit.viewer)


CHANGES: Mapping[str, Callable[[Visit, OfStream], Awaitable[None]]] = {
    "append": _append,
    "limit": _limit,
    "close": _close,
    "delete": _delete,
}


def _check_meant(visit: Visit, name: str) -> None:
    """Raise ConsoleError unless the stream's name was repeated, as it is or as it is shown."""
    if visit.entered.get("confirm", "").strip() not in {name, spoken(name)}:
        raise ConsoleError(400, "This is not the stream's name: nothing was done.")


PAGE = ConsolePage(PATH, show, submit, done=DONE)
