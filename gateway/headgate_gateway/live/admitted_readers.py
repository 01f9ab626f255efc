"""Live readers whose credential expires: each is ended when its credential is no longer valid.

A principal may have many readers. The principals wait in one heap, ordered by the time at which
their credentials expire, with one timer for the first. Readers of open routes are not in it.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count, islice
from math import inf
from typing import TYPE_CHECKING

from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.telemetry.traffic import Ended

    End = Callable[[Ended], None]

AT_ONCE = 256  # readers ended in one pass of the loop: 5 ms
# Principals without readers that may stay in the heap, in addition to one for each with readers.
FORGOTTEN = 1024


class AdmittedReaders:
    """The live readers of all principals, by principal.

    `clock` returns epoch seconds. A reader is ended at most a second late, and never early.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[Principal, dict[object, End]] = {}
        self._heap: list[tuple[float, int, Principal]] = []
        self._waits: set[Principal] = set()  # the principals in the heap
        self._numbers = count()  # break ties in the heap, since principals cannot be compared
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def add(self, reader: object, principal: Principal, end: End) -> None:
        """Call `end` once the credential with which a reader came is no longer valid.

        A credential that has expired already ends the reader in the next pass of the loop.
        """
        self._of.setdefault(principal, {})[reader] = end
        if principal.until <= self._clock():
            asyncio.get_running_loop().call_soon(self.end, principal)
        elif principal.until < inf and principal not in self._waits:
            self._tidy()
            self._wait_for(principal)
            if self._heap[0][2] is principal:
                self._arm()

    def discard(self, reader: object, principal: Principal) -> None:
        """Forget a reader that has ended."""
        readers = self._of.get(principal)
        if readers is not None:
            readers.pop(reader, None)
            if not readers:
                del self._of[principal]

    def end(self, principal: Principal) -> None:
        """End the readers of a principal whose credential is no longer valid, AT_ONCE at a time."""
        readers = self._of.get(principal)
        if readers is None:
            return
        ended: Ended = "expired" if principal.until else "revoked"
        for reader, end in list(islice(readers.items(), AT_ONCE)):
            self.discard(reader, principal)
            try:
                end(ended)
            except Exception:  # noqa: BLE001 - the other readers must still be ended
                log.exception("reader.unended")
        if principal in self._of:
            asyncio.get_running_loop().call_soon(self.end, principal)

    def _due(self) -> None:
        """End the readers whose credential has expired; the clock may lag behind the timer."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, _, principal = heapq.heappop(self._heap)
            self._waits.discard(principal)
            if principal.until > now and principal in self._of:
                self._wait_for(principal)  # its authority has extended it meanwhile
            else:
                self.end(principal)
        self._arm()

    def _wait_for(self, principal: Principal) -> None:
        self._waits.add(principal)
        heapq.heappush(self._heap, (principal.until, next(self._numbers), principal))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            # The system clock may be set at any time, so it is compared twice a second.
            wait = min(max(self._heap[0][0] - self._clock(), 0.0), 0.5)
            self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _tidy(self) -> None:
        """Drop the principals without readers from the heap, when they are many."""
        if len(self._heap) < 2 * len(self._of) + FORGOTTEN:
            return
        self._heap = [item for item in self._heap if item[2] in self._of]
        heapq.heapify(self._heap)
        self._waits = {principal for _, _, principal in self._heap}
