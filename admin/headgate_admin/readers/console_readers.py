"""The readers and principals of all processes: listed, disconnected and banned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec.structs import replace

from headgate_admin.access.audit import audited
from headgate_admin.answers import answers_of
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.operation import operation
from headgate_admin.readers import merged_lists
from headgate_admin.readers.ban_list import LONGEST_BAN_S
from headgate_gateway.access.bans import Ban
from headgate_gateway.access.principal import CONSOLE
from headgate_gateway.features.questions.loudest import ListLoudest, LoudestList
from headgate_gateway.features.questions.readers import (
    MOST_ENDED,
    MOST_READERS,
    READERS,
    EndedReaderCount,
    EndReaders,
    GroupBy,
    GroupReaders,
    ListReaders,
    ReaderGroups,
    ReaderMode,
    ReaderOrder,
    ReaderPage,
    ReaderQuery,
)
from headgate_gateway.protocol.http.client_address import CLIENT_BITS, counted_as, is_address

if TYPE_CHECKING:
    from headgate_admin.readers.ban_keeper import BanKeeper
    from headgate_gateway.features.questions.process_source import ProcessSource, Setup

BanKind = Literal["principal", "address"]
SHARED_S = 2.0  # requests within this time share a list of the loudest
LONGEST_NAME = 300  # characters of an account or an address
ACCOUNT_KINDS = ("token ", "jwt ", "read-token ")  # with which the accounts of principals begin


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

    def where(self, viewer: Viewer, between: tuple[float, float] | None) -> ReaderQuery:
        """Return the conditions as processes take them."""
        return ReaderQuery(
            route=self.route,
            stream=self.stream,
            mode=self.mode,
            account="" if self.anonymous else self.account or None,
            address=self.address,
            text=self.text,
            between=between,
            with_clients=viewer.is_operator,
        )


class OfReaders(ReaderChoice, frozen=True):
    """A page of the live readers that fulfil the conditions, after the `after` of another page."""

    order: ReaderOrder = "behind"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_READERS)] = READERS


class OfReaderGroups(ReaderChoice, frozen=True, kw_only=True):
    """The live readers that fulfil the conditions, counted by what they have in common."""

    by: GroupBy


class ReaderIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readers by the `id` of their rows."""

    ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST_ENDED)]


class OfBan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client: the `account` of a principal, or an address.

    An IPv6 address stands for its network of 64 bits.
    """

    kind: BanKind
    value: str


class BanWish(OfBan, frozen=True):
    """A client to disconnect and to refuse for `seconds`; with 0 it is only disconnected."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_BAN_S)]
    status: Literal[403, 429] = 403


class DisconnectedReaders(msgspec.Struct, frozen=True):
    """The number of readers that were disconnected on this gateway."""

    readers: int


class BanPage(msgspec.Struct, frozen=True):
    """The bans in force, the newest first. Addresses are left out for viewers."""

    bans: tuple[Ban, ...]


class ConsoleReaders:
    """The lists of readers, and the changes of operators. A failure raises ConsoleError."""

    def __init__(self, source: ProcessSource, setup: Setup, keeper: BanKeeper) -> None:
        self._source = source
        self._setup = setup
        self._clock = setup.clock
        self._keeper = keeper
        self._loudest: LoudestList | None = None
        self._loudest_at = 0.0

    @operation("GET", "/api/v1/readers")
    async def page(
        self, query: OfReaders, viewer: Viewer, between: tuple[float, float] | None = None
    ) -> ReaderPage:
        """Return a page of live readers; with `between`, of those that connected in this time."""
        where = query.where(viewer, between)
        question = ListReaders(where, query.order, query.after, query.limit)
        return merged_lists.page_of(question, await answers_of(self._source, question, ReaderPage))

    @operation("GET", "/api/v1/readers/groups")
    async def groups(
        self, query: OfReaderGroups, viewer: Viewer, between: tuple[float, float] | None = None
    ) -> ReaderGroups:
        """Return the largest groups of live readers."""
        question = GroupReaders(query.where(viewer, between), query.by)
        return merged_lists.groups_of(await answers_of(self._source, question, ReaderGroups))

    @operation("GET", "/api/v1/loudest")
    async def loudest(self, viewer: Viewer) -> LoudestList:
        """Return the clients and streams of the largest load, the largest first.

        Requests within two seconds share a list.
        """
        now = self._clock()
        if self._loudest is None or not 0 <= now - self._loudest_at < SHARED_S:
            answers = await answers_of(self._source, ListLoudest(), LoudestList)
            self._loudest, self._loudest_at = merged_lists.loudest_of(answers), now
        found = self._loudest
        if viewer.is_operator:
            return found
        clients = [replace(it, address=None, user_agent=None) for it in found.clients]
        return replace(found, clients=tuple(clients))

    @operation("POST", "/api/v1/readers/disconnect")
    async def disconnect(self, body: ReaderIds, viewer: Viewer) -> DisconnectedReaders:
        """Disconnect readers, and return how many. Their clients may connect again."""
        with audited(viewer, "disconnect", "", "readers") as logged:
            logged["ids"] = ", ".join(body.ids)
            answers = await answers_of(self._source, EndReaders(body.ids), EndedReaderCount)
            logged["readers"] = count = sum(answer.count for answer in answers)
        return DisconnectedReaders(count)

    @operation("GET", "/api/v1/bans")
    def bans(self, viewer: Viewer) -> BanPage:
        """Return the bans in force."""
        in_force = self._keeper.list.in_force
        return BanPage(tuple(it for it in in_force if viewer.is_operator or it.kind != "address"))

    @operation("POST", "/api/v1/bans")
    async def ban(self, body: BanWish, viewer: Viewer) -> DisconnectedReaders:
        """Ban a client, and return how many of its readers were disconnected.

        With 0 seconds a ban that is in force stays so.
        """
        name = "ban" if body.seconds else "disconnect"
        with audited(viewer, name, "", _name_in_events(body)) as logged:
            logged |= {"client": body.value, "seconds": round(body.seconds)}
            logged["response"] = body.status
            kind, value = _subject(body)
            now = self._clock()
            until, status = now + body.seconds, body.status
            known = self._ban_of((kind, value))
            if not body.seconds and known is not None:
                until, status = known.until, known.status
            logged["readers"] = count = await self._keeper.decide(
                Ban(kind=kind, value=value, at=now, until=until, status=status, by=viewer.name)
            )
        return DisconnectedReaders(count)

    def _ban_of(self, subject: tuple[BanKind, str]) -> Ban | None:
        """Return the ban in force of a subject."""
        return next((it for it in self._keeper.list.in_force if it.subject == subject), None)

    @operation("DELETE", "/api/v1/bans")
    async def lift(self, query: OfBan, viewer: Viewer) -> None:
        """End a ban before its time."""
        with audited(viewer, "lift the ban of", "", _name_in_events(query)) as logged:
            logged["client"] = query.value
            ban = self._ban_of(_subject(query))
            if ban is None:
                raise ConsoleError(404, f"no ban of this {query.kind} is in force")
            lifted = replace(ban, at=self._clock(), by=viewer.name, is_lifted=True)
            await self._keeper.decide(lifted)


def _name_in_events(client: OfBan) -> str:
    """Return what an event calls a client; viewers see events, and no address is in them."""
    is_shown = client.kind != "address" and not is_address(client.value.strip())
    return client.value if is_shown else "an address"


def _subject(client: OfBan) -> tuple[BanKind, str]:
    """Return the subject of a ban as processes compare it. Raises ConsoleError if it is none."""
    kind, value = client.kind, client.value
    if not value or len(value) > LONGEST_NAME:
        raise ConsoleError(
            400, f"a ban names a principal or an address of 1 to {LONGEST_NAME} letters"
        )
    if kind == "principal":
        if value == CONSOLE:
            raise ConsoleError(400, "the console itself cannot be banned")
        if not value.startswith(ACCOUNT_KINDS):
            raise ConsoleError(
                400,
                f"{value} is not an account: that of a static token is token NAME; Usage lists "
                "others",
            )
        return kind, value
    network, _, bits = value.partition("/")  # a ban of IPv6 is listed as a network
    address = network if ":" in network and bits == f"{CLIENT_BITS}" else value
    if not is_address(address):
        raise ConsoleError(400, f"{value} is not an IP address")
    return kind, counted_as(address)
