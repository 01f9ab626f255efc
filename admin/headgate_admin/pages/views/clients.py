"""The page of clients: live readers, the loudest clients, refusals, tokens and bans."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, get_args

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import OfSpan
from headgate_admin.model.tokens import OfTokens, Revocation, TokenWish
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.limit_form import filled, wish_of
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice, times
from headgate_admin.readers.console_readers import (
    BanKind,
    BanWish,
    OfBan,
    OfReaderGroups,
    OfReaders,
    ReaderChoice,
    ReaderIds,
)
from headgate_gateway.features.issued_tokens import USUAL_S
from headgate_gateway.features.questions.tokens import RevocationKind
from headgate_gateway.settings.grants import OPERATIONS, Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headgate_admin.pages.visit import Visit

    Values = dict[str, object]

PATH = "/clients"
LISTS = {
    "readers": "Readers",
    "usage": "Usage",
    "refusals": "Refusals",
    "tokens": "Tokens",
    "bans": "Bans",
}
GROUPINGS = {
    "each": "Each",
    "principal": "By principal",
    "address": "By address",
    "stream": "By stream",
}
# From so many readers on, a list of each is longer than a page: they are grouped by stream.
MANY_READERS = 50
# Order, title, whether it is a number. The first column of a list is the header of its rows.
COLUMNS = (
    ("stream", "Stream", False),
    ("principal", "Principal", False),
    ("address", "Client", False),
    ("since", "Since", False),
    ("behind", "Behind", True),
    ("bytes", "Sent", True),
)
UsageOrder = Literal["requests", "appends", "refused", "sent_bytes", "received_bytes"]
USAGE_COLUMNS: tuple[tuple[UsageOrder, str, bool], ...] = (
    ("requests", "Requests/s", True),
    ("appends", "Appends/s", True),
    ("refused", "4xx and 5xx/s", True),
    ("sent_bytes", "Sent/s", True),
    ("received_bytes", "Received/s", True),
)
REFUSED_COLUMNS = (USAGE_COLUMNS[2], USAGE_COLUMNS[0], ("", "Newest refusal", False))
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
ALL_OPERATIONS: tuple[Operation, ...] = get_args(Operation)
REVOCATION_KINDS = {
    "name": "name: a static token",
    "jti": "jti: one signed token",
    "sub": "sub: all signed tokens of a subject",
    "kid": "kid: all tokens signed by a key",
}


async def show(visit: Visit, **made: object) -> TemplatePage:
    """Return the page with its chosen list; `made` has what its form has just issued or revoked."""
    shown = choice(visit.query.get("show", "readers"), tuple(LISTS), "show")
    refusal, _, lines = (visit.refusal or "").partition("\n")
    values: Values = {
        "lists": LISTS,
        "shown": shown,
        "tab": shown,  # of which the live part is sent
        "shows_clients": visit.viewer.is_operator,
        "is_operator": visit.viewer.is_operator,
        "refusal": refusal,
        "lines": lines,
    }
    # Of the others nothing is sent again while they are open: what is entered would be lost.
    if visit.whole or shown == "readers":
        values |= await SHOWN[shown](visit)
    return TemplatePage("clients.html", values | made)


async def _readers(visit: Visit) -> Values:
    """Return the live readers that fit the query, or their largest groups."""
    query, readers = visit.query, visit.console.readers
    shows_clients = visit.viewer.is_operator
    chosen = {name: query.get(name, "") for name in ReaderChoice.__struct_fields__}
    usual = "each" if chosen["stream"] else ""
    by = choice(query.get("by") or usual, ("", *GROUPINGS), "by")
    between = times(visit)
    conditions = filled(query, ReaderChoice)
    place = {"order": query.get("order", "behind"), "after": query.get("after", "")}
    wanted = wish_of({**conditions, **place}, OfReaders)
    kept = chosen | {name: query.get(name, "") for name in ("from", "to")}
    values: Values = {
        "groupings": [it for it in GROUPINGS.items() if it[0] != "address" or shows_clients],
        "chosen": chosen,
        "between": between,
        "is_filtered": bool(conditions) or between is not None,
        "prefixes": visit.console.prefixes,
        "modes": {"": "Any", "sse": "SSE", "long-poll": "long-poll"},
        "columns": [it for it in COLUMNS if it[0] != "address" or shows_clients],
        **place,
    }

    def shown(by: str, **found: object) -> Values:
        """Return the values with what was found; an open page stays grouped as it began."""
        address = partial(_address, {**kept, "by": by})
        return {**values, "by": by, "address": address, "groups": None, "page": None, **found}

    try:
        if by != "each":
            grouped = wish_of({**conditions, "by": by or "stream"}, OfReaderGroups)
            groups = await readers.groups(grouped, visit.viewer, between)
            if by or groups.sums.readers >= MANY_READERS:
                return shown(grouped.by, groups=groups, sums=groups.sums)
        page = await readers.page(wanted, visit.viewer, between)
    except ConsoleError as refusal:
        return shown(by or "each", trouble=refusal)
    return shown("each", page=page, sums=page.sums)


def _address(kept: Mapping[str, str], **changes: str) -> str:
    """Return the address of this page with other parameters."""
    return link(PATH, **{**kept, **changes})


async def _usage(visit: Visit) -> Values:
    """Return the loudest clients, or those that were refused most, with their newest refusals."""
    query, console = visit.query, visit.console
    is_refused = query.get("show") == "refusals"
    usual = "refused" if is_refused else "requests"
    order = choice(query.get("order", usual), get_args(UsageOrder), "order")
    account, address = query.get("account", ""), query.get("address", "")
    try:
        loudest = await console.readers.loudest(visit.viewer)
        refusals = await console.refusals.view(OfSpan("15m"), visit.viewer)
    except ConsoleError as refusal:
        return {"trouble": refusal}
    fitting = [
        it
        for it in loudest.clients
        if account in {"", it.account}
        and address in {"", it.address}
        and (it.refused or not is_refused)
    ]
    return {
        "usage": sorted(fitting, key=attrgetter(order), reverse=True),
        "newest_of": {it.client: it for it in reversed(refusals.newest) if it.client is not None},
        "missed": loudest.missed,
        "account": account,
        "address": address,
        "order": order,
        "columns": REFUSED_COLUMNS if is_refused else USAGE_COLUMNS,
    }


async def _bans(visit: Visit) -> Values:
    """Return the bans in force."""
    return {
        "bans": visit.console.readers.bans(visit.viewer).bans,
        "durations": DURATIONS,
        "entered": {"kind": "", "status": "", **visit.query, **visit.entered},
    }


async def _tokens(visit: Visit) -> Values:
    """Return a page of tokens, and the forms that issue and revoke them."""
    text, after = visit.query.get("text", ""), visit.query.get("after", "")
    # The fields of the revocation that a link to this page has chosen.
    chosen = {key: visit.query.get(key, "") for key in ("kind", "value")}
    values: Values = {
        "page": None,
        "text": text,
        "after": after,
        "operations": ALL_OPERATIONS,
        "kinds": REVOCATION_KINDS,
        "usual_s": USUAL_S,
        "entered": dict(visit.entered) or {"op_read": "on", **chosen},
        "issued": None,
        "revoked": None,
    }
    try:
        page = await visit.console.credentials.page(OfTokens(text, after), visit.viewer)
        return values | {"page": page}
    except ConsoleError as failure:
        return values | {"trouble": failure}


SHOWN: Mapping[str, Callable[[Visit], Awaitable[Values]]] = {
    "readers": _readers,
    "usage": _usage,
    "refusals": _usage,
    "tokens": _tokens,
    "bans": _bans,
}


async def submit(visit: Visit) -> TemplatePage:
    """Disconnect, ban, lift a ban, issue a token or revoke tokens. Raises ConsoleError.

    A token is on the page that is returned, which is shown this once.
    """
    action = choice(visit.entered.get("do", ""), tuple(CHANGES), "do")
    made = await CHANGES[action](visit)
    return await show(visit._replace(entered={}), **made)


async def _disconnect(visit: Visit) -> Values:
    ids = ReaderIds((visit.entered.get("reader", ""),))
    count = (await visit.console.readers.disconnect(ids, visit.viewer)).readers
    back = {name: value for name, value in visit.query.items() if name not in {"done", "count"}}
    raise web.HTTPSeeOther(link(PATH, **back, done="disconnect", count=str(count)))


async def _ban(visit: Visit) -> Values:
    entered = visit.entered
    kind, value = _entered_client(visit)
    seconds = choice(entered.get("seconds", ""), tuple(DURATIONS), "seconds")
    status = choice(entered.get("status", ""), ("403", "429"), "status")
    wish = BanWish(kind, value, float(seconds), 403 if status == "403" else 429)
    count = (await visit.console.readers.ban(wish, visit.viewer)).readers
    word = "disconnect" if seconds == "0" else "ban"
    raise web.HTTPSeeOther(link(PATH, show="bans", done=word, count=str(count)))


async def _lift(visit: Visit) -> Values:
    await visit.console.readers.lift(OfBan(*_entered_client(visit)), visit.viewer)
    raise web.HTTPSeeOther(link(PATH, show="bans", done="lift", count="0"))


def _entered_client(visit: Visit) -> tuple[BanKind, str]:
    """Return the client that was entered: what kind of name it is, and the name."""
    kind: BanKind = choice(visit.entered.get("kind", ""), get_args(BanKind), "kind")
    return kind, visit.entered.get("value", "").strip()


async def _issue(visit: Visit) -> Values:
    entered = visit.entered
    operations = tuple(it for it in ALL_OPERATIONS if entered.get(f"op_{it}") == "on")
    if not operations:
        raise ConsoleError(400, f"choose an operation: {', '.join(sorted(OPERATIONS))}")
    streams, subject = entered.get("streams", ""), entered.get("subject", "")
    fields = {"subject": subject, "streams": streams, "operations": operations}
    wish = wish_of({**fields, "lifetime": entered.get("lifetime", "").strip() or None}, TokenWish)
    issued = await visit.console.credentials.make_token(wish, visit.viewer)
    return {"issued": issued, "subject": subject, "streams": streams}


async def _revoke(visit: Visit) -> Values:
    entered = visit.entered
    kind: RevocationKind = choice(entered.get("kind", ""), get_args(RevocationKind), "kind")
    value = entered.get("value", "")
    # Tokens that are issued in this second count as issued before.
    before = int(visit.now) + 1 if entered.get("only_former") == "on" else None
    revocation = Revocation(kind, value, before)
    await visit.console.credentials.revoke(revocation, visit.viewer)
    return {"revoked": revocation}


CHANGES: Mapping[str, Callable[[Visit], Awaitable[Values]]] = {
    "disconnect": _disconnect,
    "ban": _ban,
    "lift": _lift,
    "issue": _issue,
    "revoke": _revoke,
}

MENU = MenuEntry(
    "Clients",
    "M5.5 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1.5 13.5c0-2.5 1.8-4 4-4s4 1.5 4 4"
    "M11 7.5a2 2 0 1 0 0-4M11.5 9.8c1.9.2 3 1.6 3 3.7",
    key="c",
    order=40,
)
PAGE = ConsolePage(PATH, show, submit, MENU, DONE)
