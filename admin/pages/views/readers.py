"""The page of readers: who reads live, what principals have used, and the bans of operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn, get_args

from aiohttp import web

from admin.access import audited_readers
from admin.errors import NotTold
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage, link
from admin.pages.visit import choice, done, frame
from admin.readers.console_readers import BanKind, BanWish
from gateway.features.questions.readers import (
    GroupBy,
    ListReaders,
    ReaderMode,
    ReaderOrder,
    ReaderQuery,
    UsageOrder,
)

if TYPE_CHECKING:
    from admin.pages.visit import Visit

PATH = "/readers"
TABS = {
    "readers": "Readers",
    "principal": "By principal",
    "address": "By address",
    "stream": "By stream",
    "usage": "Usage",
    "bans": "Bans",
}
# Order, title, whether it is a number. The first column of a list is the header of its rows.
COLUMNS = (
    ("stream", "Stream", False),
    ("principal", "Principal", False),
    ("address", "Client", False),
    ("since", "Since", False),
    ("behind", "Behind", True),
    ("bytes", "Sent", True),
)
USAGE_COLUMNS: tuple[tuple[UsageOrder, str, bool], ...] = (
    ("requests", "Requests", True),
    ("appends", "Appends", True),
    ("failures", "4xx and 5xx", True),
    ("sent", "Sent", True),
    ("received", "Received", True),
    ("readers", "Readers", True),
)
DURATIONS = {
    "0": "only disconnect",
    "60": "1 minute",
    "600": "10 minutes",
    "3600": "1 hour",
    "86400": "1 day",
    "604800": "7 days",
}
DONE = {
    "disconnect": "Disconnected readers: {count}. Their clients may connect again.",
    "ban": "Disconnected readers: {count}. New requests of the client are refused.",
    "lift": "The ban is lifted.",
}


class _Chosen(NamedTuple):
    """The conditions of the page's query."""

    route: str
    stream: str
    mode: str
    account: str
    anonymous: str
    address: str
    text: str

    @property
    def is_any(self) -> bool:
        """True without any condition."""
        return not any(self)


async def show(visit: Visit) -> TemplatePage:
    """Return the page with its chosen tab. Raises NotTold."""
    query = visit.query
    tab = choice(query.get("tab", "readers"), tuple(TABS), "tab")
    chosen = _Chosen(*(query.get(name, "") for name in _Chosen._fields))
    shows_clients = visit.console.readers.shows_clients(visit.viewer)
    values: dict[str, object] = {
        "here": PATH,
        **await frame(visit),
        "tab": tab,
        "tabs": [it for it in TABS.items() if it[0] != "address" or shows_clients],
        "chosen": chosen._asdict(),
        "is_filtered": not chosen.is_any,
        "prefixes": [route.prefix for route in await visit.console.routes()],
        "modes": {"": "Any", "sse": "SSE", "long-poll": "long-poll"},
        "shows_clients": shows_clients,
        "is_operator": visit.viewer.role == "operator",
        "done": done(visit, DONE),
        "refusal": visit.refusal,
        "now": visit.now,
    }
    if visit.whole:  # nothing in it is sent again while it is open: buttons would move
        values |= await _of_tab(visit, tab, _where(chosen, with_clients=shows_clients))
    return TemplatePage("readers.html", values)


def _where(chosen: _Chosen, *, with_clients: bool) -> ReaderQuery:
    mode = choice(chosen.mode, ("", *get_args(ReaderMode)), "mode")
    return ReaderQuery(
        route=chosen.route,
        stream=chosen.stream,
        mode=mode or None,
        account="" if chosen.anonymous else chosen.account or None,
        address=chosen.address,
        text=chosen.text,
        with_clients=with_clients,
    )


async def _of_tab(visit: Visit, tab: str, where: ReaderQuery) -> dict[str, object]:
    readers = visit.console.readers
    if tab == "bans":
        return {
            "bans": readers.bans_for(visit.viewer),
            "durations": DURATIONS,
            "entered": {"kind": "", "status": "", **visit.query, **visit.entered},
        }
    try:
        return await _listed(visit, tab, where)
    except NotTold as refusal:
        return {"trouble": refusal}


async def _listed(visit: Visit, tab: str, where: ReaderQuery) -> dict[str, object]:
    readers, query = visit.console.readers, visit.query
    if tab == "usage":
        order = choice(query.get("order", "requests"), get_args(UsageOrder), "order")
        usage = await readers.usages(order)
        return {"usage": usage, "order": order, "columns": USAGE_COLUMNS}
    if tab in get_args(GroupBy):
        by: GroupBy = choice(tab, get_args(GroupBy), "tab")
        return {"groups": await readers.groups(where, by)}
    reader_order = choice(query.get("order", "behind"), get_args(ReaderOrder), "order")
    after = query.get("after", "")
    page = await readers.page(ListReaders(where, reader_order, after))
    columns = [it for it in COLUMNS if it[0] != "address" or where.with_clients]
    return {"page": page, "order": reader_order, "after": after, "columns": columns}


async def submit(visit: Visit) -> NoReturn:
    """Disconnect a reader, ban a client, or lift a ban. Raises NotTold."""
    entered, readers = visit.entered, visit.console.readers
    action = choice(entered.get("action", ""), tuple(DONE), "action")
    back = {name: value for name, value in visit.query.items() if name not in {"done", "count"}}
    if action == "disconnect":
        ids = (entered.get("reader", ""),)
        count = await audited_readers.disconnect(readers, ids, visit.viewer)
        raise web.HTTPSeeOther(link(PATH, **back, done=action, count=str(count)))
    kind: BanKind = choice(entered.get("kind", ""), get_args(BanKind), "kind")
    value = entered.get("value", "").strip()
    if action == "lift":
        await audited_readers.lift(readers, kind, value, visit.viewer)
        raise web.HTTPSeeOther(link(PATH, tab="bans", done=action, count="0"))
    seconds = choice(entered.get("seconds", ""), tuple(DURATIONS), "seconds")
    status = choice(entered.get("status", ""), ("403", "429"), "status")
    wish = BanWish(kind, value, float(seconds), 403 if status == "403" else 429)
    count = await audited_readers.ban(readers, wish, visit.viewer)
    word = "disconnect" if seconds == "0" else action
    raise web.HTTPSeeOther(link(PATH, tab="bans", done=word, count=str(count)))


MENU = MenuEntry(
    "Readers",
    "M5.5 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1.5 13.5c0-2.5 1.8-4 4-4s4 1.5 4 4"
    "M11 7.5a2 2 0 1 0 0-4M11.5 9.8c1.9.2 3 1.6 3 3.7",
    key="n",
    order=40,
)
PAGE = ConsolePage(PATH, show, submit, menu=MENU)
