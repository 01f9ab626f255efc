"""Detection of clients in a loop, which send the same read again and again.

Reads are noted for half a second in every ten: a loop lasts until somebody ends it, and the fast
path has nothing to do in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.protocol.http.client_address import TrustedProxies
from gateway.runtime.request_fields import PLACES
from gateway.telemetry.logs import log, redact

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from multidict import MultiMapping

LOOK_EVERY_S = 10.0
LOOK_S = 0.5
OFTEN = 5  # equal reads in LOOK_S; a client that moves on, waits or backs off sends fewer
MOST_NOTED = 4096  # different reads in one look: half a megabyte; later ones are not noted
LONGEST_SHOWN = 200  # characters of what a client sent
_READS = frozenset({"GET", "HEAD"})  # equal writes mostly have new bodies


class RepeatedRead(NamedTuple):
    """A read that one client has sent at least OFTEN times; `client` as in the access log.

    Without `forwarded_for` all came on one connection, which has the `port`.
    """

    client: str | None
    port: int | None
    forwarded_for: str | None
    method: str
    target: str


class LoopDetector:
    """A count of equal reads by each client; `looking` says whether reads are to be noted now.

    A client is the address that proxies in front name, or else a connection: one address may have
    many clients behind it.
    """

    def __init__(self, proxies: TrustedProxies | None = None) -> None:
        self._proxies = proxies or TrustedProxies()
        self.looking = False
        self.noticed = 0
        self._turned_at: float | None = None
        self._times: dict[int, int] = {}  # by hash, since what clients send may be long
        self._often: dict[int, RepeatedRead] = {}

    def turn(self, now: float) -> None:
        """Start or end a look, if it is time to; `now` is loop time."""
        if self._turned_at is None:
            self._turned_at = now
        passed_s = now - self._turned_at
        if passed_s < (LOOK_S if self.looking else LOOK_EVERY_S):
            return
        if self.looking:
            self._log_loop(passed_s)
        self.looking = not self.looking
        self._turned_at = now

    def note(
        self,
        transport: BaseTransport | None,
        method: str,
        target: str,
        headers: MultiMapping[str],
    ) -> None:
        """Count a read; `transport` is None for the only request of a connection."""
        forwarded_for = headers.get("X-Forwarded-For") or headers.get("Forwarded") or None
        peer = None if transport is None else transport.get_extra_info("peername")
        client = forwarded_for or (None if "Via" in headers else peer)
        if client is None or method not in _READS:
            return  # a proxy that does not name its client sends the reads of many
        key = hash((client, method, target, *map(headers.get, PLACES)))
        times = self._times.get(key, 0) + 1
        if times == 1 and len(self._times) >= MOST_NOTED:
            return
        self._times[key] = times
        if times == OFTEN:
            address, port = peer[:2] if isinstance(peer, tuple) else (None, None)
            if address is not None:
                address = self._proxies.client(address, headers)
            chain = None if forwarded_for is None else forwarded_for[:LONGEST_SHOWN]
            self._often[key] = RepeatedRead(
                address, port, chain, method, redact(target)[:LONGEST_SHOWN]
            )

    def _log_loop(self, looked_s: float) -> None:
        """Log one line for all loops, about the worst; a longer look needs more repeats."""
        least = max(OFTEN, round(OFTEN * looked_s / LOOK_S))
        loops = {key: read for key, read in self._often.items() if self._times[key] >= least}
        if loops:
            self.noticed += len(loops)
            worst = max(loops, key=self._times.__getitem__)
            read = loops[worst]
            which = (
                {"port": read.port}
                if read.forwarded_for is None
                else {"forwarded_for": read.forwarded_for}
            )
            log.warning(
                "reads.repeated",
                loops=len(loops),
                client=read.client,
                method=read.method,
                path=read.target,
                times=self._times[worst],
                within_s=round(looked_s, 3),
                **which,
            )
        self._times.clear()
        self._often.clear()
