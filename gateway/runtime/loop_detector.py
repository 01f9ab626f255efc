"""Readers that go in circles: who asks the same again and again is noticed.

Looked for in half a second of every ten. A loop goes on until somebody ends it, and the fast path
has nothing to note in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.protocol.http.client_address import TrustedProxies
from gateway.telemetry.logs import log, redact

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from multidict import MultiMapping

LOOK_EVERY_S = 10.0
LOOK_S = 0.5
OFTEN = 5  # equal reads in LOOK_S: whoever moves on, waits or backs off does not come so often
MOST_NOTED = 4096  # different reads of one look, half a megabyte; what comes then is not noted
LONGEST_SHOWN = 200  # characters of what a client sent
_READS = frozenset({"GET", "HEAD"})  # what a write repeats is in its body, as a rule it is new
# What says, besides the target, where a reader is. Its cursor stands in the target.
_PLACES = ("If-None-Match", "Last-Event-ID", "Range")


class Repeated(NamedTuple):
    """A read that one client has sent OFTEN times, or more: the client as in a request's line.

    Without `forwarded_for` it is one connection, which the port tells.
    """

    client: str | None
    port: int | None
    forwarded_for: str | None
    method: str
    target: str


class LoopDetector:
    """`looking` says whether reads are to be noted right now.

    A client is whom the proxies before us name, else a connection: behind one address may be many.
    """

    def __init__(self, proxies: TrustedProxies | None = None) -> None:
        self._proxies = proxies or TrustedProxies()
        self.looking = False
        self.noticed = 0
        self._turned_at: float | None = None
        self._times: dict[int, int] = {}  # by hash, since what clients send may be long
        self._often: dict[int, Repeated] = {}

    def turn(self, now: float) -> None:
        """Begin to look, or end it, when it is time to (loop time)."""
        if self._turned_at is None:
            self._turned_at = now
        passed_s = now - self._turned_at
        if passed_s < (LOOK_S if self.looking else LOOK_EVERY_S):
            return
        if self.looking:
            self._tell(passed_s)
        self.looking = not self.looking
        self._turned_at = now

    def note(
        self,
        transport: BaseTransport | None,
        method: str,
        target: str,
        headers: MultiMapping[str],
    ) -> None:
        """Count a read; without a transport it is the only one of its connection."""
        forwarded_for = headers.get("X-Forwarded-For") or headers.get("Forwarded") or None
        peer = None if transport is None else transport.get_extra_info("peername")
        client = forwarded_for or (None if "Via" in headers else peer)
        if client is None or method not in _READS:
            return  # a proxy need not say for whom it asks
        key = hash((client, method, target, *map(headers.get, _PLACES)))
        times = self._times.get(key, 0) + 1
        if times == 1 and len(self._times) >= MOST_NOTED:
            return
        self._times[key] = times
        if times == OFTEN:
            address, port = peer[:2] if isinstance(peer, tuple) else (None, None)
            if address is not None:
                address = self._proxies.client(address, headers)
            shown = None if forwarded_for is None else forwarded_for[:LONGEST_SHOWN]
            self._often[key] = Repeated(
                address, port, shown, method, redact(target)[:LONGEST_SHOWN]
            )

    def _tell(self, looked_s: float) -> None:
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
