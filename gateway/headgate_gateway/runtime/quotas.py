"""Quotas of writes: how many each client may make.

A leaky bucket for each client refuses requests, and never delays them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import ClientLimitReached
from headgate_gateway.protocol.http.client_address import FRONT, TrustedProxies, counted_as

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable

    from multidict import MultiMapping

    from headgate_gateway.runtime.limits import ServerLimits


# Buckets: 10 MB. Beyond that, the bucket of the client that was idle for longest is dropped.
MOST_CLIENTS = 65_536


class ClientRate:
    """A limit for each client: `most` at once, and on average `most` in each `period_s` seconds.

    0 means no limit. `clock` returns seconds that only go forward. A client with room for one may
    use more at once, and then waits for longer.
    """

    def __init__(self, most: int, period_s: float, clock: Callable[[], float]) -> None:
        self._period_s = period_s
        self._clock = clock
        self.limit(most)
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # amount, and when

    def limit(self, most: int) -> None:
        """Set the limit from now on; what the clients have used counts on."""
        self._most = most
        self._per_s = most / self._period_s

    def __bool__(self) -> bool:
        return self._most > 0

    def __len__(self) -> int:
        return len(self._used)

    def again_s(self, who: str) -> int:
        """Return the whole seconds until a client has room for one more; 0 if it has room now."""
        if not self._most:
            return 0
        over = self._left_in_bucket(who, self._clock()) + 1 - self._most
        return math.ceil(over / self._per_s) if over > 0 else 0

    def count(self, who: str, amount: float) -> None:
        """Add `amount` to a client's bucket."""
        if not self._most:
            return
        now = self._clock()
        self._used[who] = (self._left_in_bucket(who, now) + amount, now)
        self._used.move_to_end(who)
        if len(self._used) > MOST_CLIENTS:
            self._used.popitem(last=False)

    def _left_in_bucket(self, who: str, now: float) -> float:
        used, at = self._used.get(who, (0.0, now))
        return max(0.0, used - (now - at) * self._per_s)


UNIX_PEER = ""  # as the system names a peer without an address


class ClientRates(NamedTuple):
    """The rates of a client's writes: appends, and creations of streams."""

    appends: ClientRate
    creations: ClientRate


def peer_of(transport: BaseTransport | None) -> str | None:
    """Return the address at the other end of a connection; FRONT for that of a Unix socket."""
    peer = None if transport is None else transport.get_extra_info("peername")
    if peer == UNIX_PEER:
        return FRONT
    return peer[0] if isinstance(peer, tuple) else None


class Quotas:
    """The limits on each client's writes, and the client that a request counts for.

    A client is the account that was admitted, or else an address.
    """

    def __init__(self, limits: ServerLimits, proxies: TrustedProxies, rates: ClientRates) -> None:
        self.limits = limits
        self.proxies = proxies
        self._rates = rates
        self._note_bounds()

    def limit_rates(self, appends: int, creations: int) -> None:
        """Set the most appends a second, and creations an hour, of each client."""
        self._rates.appends.limit(appends)
        self._rates.creations.limit(creations)
        self._note_bounds()

    def _note_bounds(self) -> None:
        """Note whether writes have a limit at all: mostly they have none."""
        self.bounds_appends = bool(self._rates.appends)
        self.bounds_creations = bool(self._rates.creations)

    def connects_as(self, transport: BaseTransport) -> str | None:
        """Return the client that a connection counts for; None for a trusted proxy."""
        peer = peer_of(transport)
        return None if peer is None else self.address_connects_as(peer)

    def address_connects_as(self, peer: str) -> str | None:
        """Return the client that a connection of an address counts for, as `connects_as`."""
        return None if self.proxies.has(peer) else counted_as(peer)

    def client_address(
        self, transport: BaseTransport | None, headers: MultiMapping[str]
    ) -> str | None:
        """Return the client's address, as far as the proxies that name it are trusted."""
        peer = peer_of(transport)
        return None if peer is None else self.proxies.client(peer, headers)

    def write(
        self,
        transport: BaseTransport | None,
        headers: MultiMapping[str],
        account: str,
        *,
        is_creation: bool,
    ) -> None:
        """Count an append or creation; raises ClientLimitReached if its client writes too much."""
        if not (self.bounds_creations if is_creation else self.bounds_appends):
            return
        who = self.counts_as(transport, headers, account)
        if is_creation:
            rate = self._rates.creations
            self._check(rate, who, "max_client_creations", "creations an hour")
        else:
            rate = self._rates.appends
            self._check(rate, who, "max_client_appends", "appends a second")
        rate.count(who, 1)

    def admits(
        self,
        transport: BaseTransport | None,
        headers: MultiMapping[str],
        account: str,
        *,
        is_creation: bool = False,
    ) -> bool:
        """Count an append or creation if it is within its client's quotas.

        Return whether it is; if not, `write` refuses it.
        """
        rate = self._rates.creations if is_creation else self._rates.appends
        who = self.counts_as(transport, headers, account)
        if rate.again_s(who):
            return False
        rate.count(who, 1)
        return True

    def counts_as(
        self, transport: BaseTransport | None, headers: MultiMapping[str], account: str = ""
    ) -> str:
        """Return the client that a request counts for: an admitted account, or else an address.

        An IPv6 address counts as its network of 64 bits.
        """
        if account:
            return f"account {account}"
        address = self.client_address(transport, headers)
        return "" if address is None else counted_as(address)

    def _check(self, rate: ClientRate, who: str, limit: str, what: str) -> None:
        again_s = rate.again_s(who)
        if again_s:
            self.limits.refused[limit] += 1
            raise ClientLimitReached(f"{limit} is reached: too many {what} from you", again_s)
