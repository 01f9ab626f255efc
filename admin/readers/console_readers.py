"""The readers and principals of all processes: listed, disconnected and banned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from admin.access.audit import audited
from admin.answers import answers_of
from admin.errors import ConsoleError
from admin.readers import merged_lists
from admin.readers.ban_list import LONGEST_BAN_S
from gateway.access.bans import Ban
from gateway.access.principal import CONSOLE
from gateway.features.questions.loudest import ListLoudest, LoudestList
from gateway.features.questions.readers import (
    MOST_ENDED,
    EndedReaderCount,
    EndReaders,
    GroupReaders,
    ListReaders,
    ReaderGroups,
    ReaderPage,
)
from gateway.protocol.http.client_address import counted_as, is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admin.model.viewer import Viewer
    from admin.readers.ban_keeper import BanKeeper
    from gateway.features.questions.process_source import ProcessSource, Setup
    from gateway.features.questions.readers import GroupBy, ReaderQuery

BanKind = Literal["principal", "address"]
SHARED_S = 2.0  # in which a list of the loudest is not asked for again
LONGEST_NAME = 300  # characters of an account or an address
ACCOUNT_KINDS = ("token ", "jwt ", "read-token ")  # with which the accounts of principals begin


class BanWish(NamedTuple):
    """A client that an operator wants to disconnect, and to refuse for `seconds`; 0 is allowed."""

    kind: BanKind
    value: str
    seconds: float
    status: Literal[403, 429] = 403


class ConsoleReaders:
    """The lists of readers, and the changes of operators. A failure raises ConsoleError."""

    def __init__(self, source: ProcessSource, setup: Setup, keeper: BanKeeper) -> None:
        self._source = source
        self._setup = setup
        self._clock = setup.clock
        self._keeper = keeper
        self._loudest: LoudestList | None = None
        self._loudest_at = 0.0

    def shows_clients(self, viewer: Viewer) -> bool:
        """Return whether a viewer may see the addresses and the user agents of clients."""
        return viewer.role == "operator"

    async def page(self, question: ListReaders) -> ReaderPage:
        """Return a page of readers."""
        return merged_lists.page_of(question, await answers_of(self._source, question, ReaderPage))

    async def groups(self, where: ReaderQuery, by: GroupBy) -> ReaderGroups:
        """Return the largest groups of readers."""
        question = GroupReaders(where, by)
        return merged_lists.groups_of(await answers_of(self._source, question, ReaderGroups))

    async def loudest(self, viewer: Viewer) -> LoudestList:
        """Return the clients and streams of the largest load; those who ask together share it."""
        now = self._clock()
        if self._loudest is None or not 0 <= now - self._loudest_at < SHARED_S:
            answers = await answers_of(self._source, ListLoudest(), LoudestList)
            self._loudest, self._loudest_at = merged_lists.loudest_of(answers), now
        found = self._loudest
        if self.shows_clients(viewer):
            return found
        clients = [replace(it, address=None, user_agent=None) for it in found.clients]
        return replace(found, clients=tuple(clients))

    async def disconnect(self, ids: Sequence[str], by: Viewer) -> int:
        """Disconnect readers; return how many. Their clients may connect again."""
        with audited(by, "disconnect", "", "readers") as logged:
            logged["ids"] = ", ".join(ids)
            if not 1 <= len(ids) <= MOST_ENDED:
                raise ConsoleError(400, f"name 1 to {MOST_ENDED} readers by their ids")
            answers = await answers_of(self._source, EndReaders(tuple(ids)), EndedReaderCount)
            logged["readers"] = count = sum(answer.count for answer in answers)
        return count

    @property
    def bans(self) -> tuple[Ban, ...]:
        """The bans in force, the newest first."""
        return self._keeper.list.in_force

    def bans_for(self, viewer: Viewer) -> tuple[Ban, ...]:
        """Return the bans in force that a viewer may see: perhaps not those of addresses."""
        shows_clients = self.shows_clients(viewer)
        return tuple(it for it in self.bans if shows_clients or it.kind != "address")

    async def ban(self, wish: BanWish, by: Viewer) -> int:
        """Disconnect the readers of a client and refuse it for a time; return their number.

        With 0 seconds a ban that is in force stays so.
        """
        operation = "ban" if wish.seconds else "disconnect"
        with audited(by, operation, "", _name_in_events(wish.kind, wish.value)) as logged:
            logged |= {"client": wish.value, "seconds": round(wish.seconds)}
            logged["response"] = wish.status
            logged["readers"] = count = await self._ban(wish, by)
        return count

    async def _ban(self, wish: BanWish, by: Viewer) -> int:
        kind, value = _subject(wish.kind, wish.value)
        if not 0 <= wish.seconds <= LONGEST_BAN_S:
            raise ConsoleError(400, f"a ban lasts from 0 to {LONGEST_BAN_S:.0f} seconds")
        now = self._clock()
        until, status = now + wish.seconds, wish.status
        known = self._ban_of((kind, value))
        if not wish.seconds and known is not None:
            until, status = known.until, known.status
        return await self._keeper.decide(
            Ban(kind=kind, value=value, at=now, until=until, status=status, by=by.name)
        )

    def _ban_of(self, subject: tuple[BanKind, str]) -> Ban | None:
        """Return the ban in force of a subject."""
        return next((it for it in self.bans if it.subject == subject), None)

    async def lift(self, kind: BanKind, value: str, by: Viewer) -> None:
        """End a ban before its time."""
        with audited(by, "lift the ban of", "", _name_in_events(kind, value)) as logged:
            logged["client"] = value
            ban = self._ban_of(_subject(kind, value))
            if ban is None:
                raise ConsoleError(404, f"no ban of this {kind} is in force")
            lifted = replace(ban, at=self._clock(), by=by.name, is_lifted=True)
            await self._keeper.decide(lifted)


def _name_in_events(kind: BanKind, value: str) -> str:
    """Return what an event calls a client; viewers see events, and no address is in them."""
    return "an address" if kind == "address" or is_address(value.strip()) else value


def _subject(kind: BanKind, value: str) -> tuple[BanKind, str]:
    """Return the subject of a ban as processes compare it. Raises ConsoleError if it is none."""
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
    if not is_address(value):
        raise ConsoleError(400, f"{value} is not an IP address")
    return kind, counted_as(value)
