"""The operations of the JSON API about readers, principals and bans."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from aiohttp import web

from admin.access.check import VIEWER
from admin.api.operation import operation
from admin.console import CONSOLE
from admin.readers.console_readers import BanKind, BanWish
from gateway.access.bans import Ban
from gateway.features.questions.loudest import LoudestList
from gateway.features.questions.readers import (
    MOST_ENDED,
    MOST_READERS,
    READERS,
    GroupBy,
    ListReaders,
    ReaderGroups,
    ReaderMode,
    ReaderOrder,
    ReaderPage,
    ReaderQuery,
)


class ReaderChoice(msgspec.Struct, frozen=True):
    """A choice of live readers: those that fulfil all conditions.

    `account` is that of a principal, and `anonymous=true` chooses readers without one. `text` is in
    the stream, the principal, the address or the user agent.
    """

    route: str = ""
    stream: str = ""
    mode: ReaderMode | None = None
    account: str = ""
    anonymous: bool = False
    address: str = ""
    text: str = ""


class OfReaders(ReaderChoice, frozen=True):
    """A page of the live readers that fulfil the conditions, behind the `after` of another page."""

    order: ReaderOrder = "behind"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_READERS)] = READERS


class OfReaderGroups(ReaderChoice, frozen=True, kw_only=True):
    """The live readers that fulfil the conditions, counted by what they have in common."""

    by: GroupBy


class ReaderIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readers by the `id` of their rows."""

    ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST_ENDED)]


class BanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client to disconnect and to refuse for `seconds`; with 0 it is only disconnected.

    `value` is the `account` of a principal, or an address, of which an IPv6 one stands for its
    network of 64 bits.
    """

    kind: BanKind
    value: str
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    status: Literal[403, 429] = 403


class OfBan(msgspec.Struct, frozen=True):
    """A banned client."""

    kind: BanKind
    value: str


class DisconnectedReaders(msgspec.Struct, frozen=True):
    """The number of readers that were disconnected on this gateway."""

    readers: int


class BanPage(msgspec.Struct, frozen=True):
    """The bans in force, the newest first. Addresses are left out for viewers."""

    bans: tuple[Ban, ...]


def _where(request: web.Request, query: ReaderChoice) -> ReaderQuery:
    return ReaderQuery(
        route=query.route,
        stream=query.stream,
        mode=query.mode,
        account="" if query.anonymous else query.account or None,
        address=query.address,
        text=query.text,
        with_clients=request.app[CONSOLE].readers.shows_clients(request[VIEWER]),
    )


@operation("GET", "/api/v1/readers")
async def readers(request: web.Request, query: OfReaders) -> ReaderPage:
    """Return a page of live readers."""
    question = ListReaders(_where(request, query), query.order, query.after, query.limit)
    return await request.app[CONSOLE].readers.page(question)


@operation("GET", "/api/v1/readers/groups")
async def groups(request: web.Request, query: OfReaderGroups) -> ReaderGroups:
    """Return the largest groups of live readers."""
    return await request.app[CONSOLE].readers.groups(_where(request, query), query.by)


@operation("GET", "/api/v1/loudest")
async def loudest(request: web.Request) -> LoudestList:
    """Return the clients and streams of the largest load, the largest first."""
    return await request.app[CONSOLE].readers.loudest(request[VIEWER])


@operation("POST", "/api/v1/readers/disconnect")
async def disconnect(request: web.Request, body: ReaderIds) -> DisconnectedReaders:
    """Disconnect readers, and return how many."""
    of_readers = request.app[CONSOLE].readers
    return DisconnectedReaders(await of_readers.disconnect(body.ids, request[VIEWER]))


@operation("GET", "/api/v1/bans")
async def bans(request: web.Request) -> BanPage:
    """Return the bans in force."""
    return BanPage(request.app[CONSOLE].readers.bans_for(request[VIEWER]))


@operation("POST", "/api/v1/bans")
async def ban(request: web.Request, body: BanBody) -> DisconnectedReaders:
    """Ban a client, and return how many of its readers were disconnected."""
    wish = BanWish(body.kind, body.value, body.seconds, body.status)
    return DisconnectedReaders(await request.app[CONSOLE].readers.ban(wish, request[VIEWER]))


@operation("DELETE", "/api/v1/bans")
async def lift(request: web.Request, query: OfBan) -> None:
    """End a ban before its time."""
    of_readers = request.app[CONSOLE].readers
    await of_readers.lift(query.kind, query.value, request[VIEWER])
