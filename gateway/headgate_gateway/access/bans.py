"""The clients that operators have banned: each of their requests is refused for a time."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from headgate_gateway.access.principal import CONSOLE, account_of
from headgate_gateway.errors import ClientLimitReached, Forbidden, HeadgateError
from headgate_gateway.protocol.http.client_address import counted_as

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from multidict import MultiMapping

    from headgate_gateway.access.principal import Principal

    ClientAddress = Callable[[BaseTransport | None, MultiMapping[str]], str | None]


LONGEST_WAIT_S = 3600  # of Retry-After: a ban may be lifted before its end
# Kinds of requests by their addresses that are remembered as not banned: each takes 0.2 KB, and
# keeps what was parsed from its requests. There are as many plans of writes.
MOST_CLEARED = 16384


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """A decision of an operator at the moment `at`: to refuse a client until another moment.

    Both are in epoch seconds. `until` equal to `at` only disconnects the client's readers, and
    `is_lifted` ends an earlier ban. Of several decisions about one client the newest counts.
    """

    kind: Literal["principal", "address"]
    value: str  # an account, or an address as limits count it
    at: float
    until: float
    status: Literal[403, 429] = 403
    by: str = ""
    is_lifted: bool = False

    @property
    def subject(self) -> tuple[str, str]:
        """The client that the decision is about."""
        return self.kind, self.value

    def is_in_force(self, now: float) -> bool:
        """Return whether the client is refused at `now` (epoch seconds)."""
        return now < self.until and not self.is_lifted


class RequestKind(Protocol):
    """The principal and the header fields that equal requests have in common."""

    @property
    def principal(self) -> Principal | None:
        """The principal that the requests were admitted for."""

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields, without a token and those that differ from request to request."""


class Bans:
    """The bans that this process enforces; `clock` returns epoch seconds.

    Requests check `in_force` first: it is nearly always empty. While it is not, those of clients
    that are not banned find themselves in `cleared`.
    """

    def __init__(self, clock: Callable[[], float], client_address: ClientAddress) -> None:
        self._clock = clock
        self._client_address = client_address
        self.in_force: dict[tuple[str, str], Ban] = {}  # by subject
        # What equal requests have in common, with the address that they come from.
        self.cleared: set[tuple[object, str | None]] = set()
        self._newest: dict[tuple[str, str], float] = {}  # when each was decided
        # Callbacks by their owners, called with the accounts whose bans have ended.
        self.on_lifted: dict[object, Callable[[AbstractSet[str]], object]] = {}

    def apply(self, bans: Iterable[Ban]) -> list[Ban]:
        """Enforce these bans and no others; return those whose readers are to be disconnected.

        These are the new ones, and all in force: a reader that was admitted before its client was
        banned may have joined since.
        """
        now = self._clock()
        bans = list(bans)
        new = {it.subject for it in bans if it.at > self._newest.get(it.subject, 0.0)}
        self._newest = {it.subject: it.at for it in bans}
        before = self.in_force.keys()
        in_force = {it.subject: it for it in bans if it.is_in_force(now)}
        if in_force != self.in_force:
            self.cleared.clear()
        self.in_force = in_force
        lifted = {value for kind, value in before - self.in_force.keys() if kind == "principal"}
        for on_lifted in list(self.on_lifted.values()) if lifted else ():
            on_lifted(lifted)
        ending = new | self.in_force.keys()
        return [it for it in bans if it.subject in ending and not it.is_lifted]

    def bans_account(self, account: str) -> bool:
        """Return whether the principal with an account is banned; "" is no account."""
        ban = self.in_force.get(("principal", account)) if account else None
        return ban is not None and ban.is_in_force(self._clock())

    def bans_kind(
        self, kind: RequestKind, peer: str | None, transport: BaseTransport | None
    ) -> bool:
        """Return whether requests of one kind from `peer` are of a banned client.

        If they are not, the next one is found in `cleared`.
        """
        if (kind, peer) in self.cleared:
            return False
        if self.refusal(account_of(kind.principal), transport, kind.headers) is not None:
            return True
        if len(self.cleared) >= MOST_CLEARED:
            self.cleared.clear()
        self.cleared.add((kind, peer))
        return False

    def refusal(
        self,
        account: str,
        transport: BaseTransport | None,
        headers: MultiMapping[str],
    ) -> HeadgateError | None:
        """Return the error for a request of a banned client; None if it is not banned.

        `account` is that of its principal, or empty.
        """
        now = self._clock()
        subjects = subjects_of(account, self._client_address(transport, headers))
        bans = (self.in_force[it] for it in subjects & self.in_force.keys())
        ban = max((it for it in bans if it.is_in_force(now)), key=lambda it: it.until, default=None)
        if ban is None:
            return None
        if ban.status == 429:
            again_s = min(ceil(ban.until - now), LONGEST_WAIT_S)
            return ClientLimitReached("an operator has banned this client for a while", again_s)
        until = datetime.fromtimestamp(ban.until, UTC).isoformat(timespec="seconds")
        return Forbidden(f"an operator has banned this client until {until}")


def subjects_of(account: str, address: str | None) -> set[tuple[str, str]]:
    """Return the subjects of the bans that are about a client; the console has none.

    `account` is that of its principal, or empty; `address` is None if it is not known.
    """
    if account == CONSOLE:
        return set()
    named = {("principal", account)} if account else set()
    return named if address is None else {*named, ("address", counted_as(address))}
