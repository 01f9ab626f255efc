"""Live readers whose credential counts for a while only: each is ended when it counts no more.

A principal may have many readers. The principals wait in one heap by the moment up to which they
count, with one timer for the first; readers of open routes are not here.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count, islice
from math import inf
from typing import TYPE_CHECKING, Protocol

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.telemetry.live_traffic import Ended

    End = Callable[[Ended], None]

AT_ONCE = 256  # readers that are ended before others have their turn: 5 ms
FORGOTTEN = 1024  # principals without readers that may wait in the heap, besides as many as have


class Holder(Protocol):
    """A principal whose credential counts until a moment (epoch seconds); 0 once revoked."""

    until: float


class Reader(Protocol):
    """A live reader: `principal` is None on an open route."""

    @property
    def principal(self) -> Holder | None:
        """The principal that is admitted with the reader, if there is one."""


class AdmittedReaders:
    """`clock` gives epoch seconds. A reader is ended at most a second late, and never early."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[Holder, dict[Reader, End]] = {}
        self._heap: list[tuple[float, int, Holder]] = []
        self._waits: set[Holder] = set()  # those in the heap
        self._numbers = count()  # since principals have no order
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def add(self, reader: Reader, end: End) -> None:
        """End a reader when its principal counts no more, also where that is so already."""
        principal = reader.principal
        if principal is None:
            return
        self._of.setdefault(principal, {})[reader] = end
        if principal.until <= self._clock():
            asyncio.get_running_loop().call_soon(self.end, principal)
        elif principal.until < inf and principal not in self._waits:
            self._tidy()
            self._wait_for(principal)
            if self._heap[0][2] is principal:
                self._arm()

    def discard(self, reader: Reader) -> None:
        """Forget a reader that has ended."""
        principal = reader.principal
        readers = None if principal is None else self._of.get(principal)
        if principal is not None and readers is not None:
            readers.pop(reader, None)
            if not readers:
                del self._of[principal]

    def end(self, principal: Holder) -> None:
        """End the readers of a principal that counts no more, a part of them at a time."""
        readers = self._of.get(principal)
        if readers is None:
            return
        ended: Ended = "expired" if principal.until else "revoked"
        for reader, end in list(islice(readers.items(), AT_ONCE)):
            self.discard(reader)
            try:
                end(ended)
            except Exception:  # noqa: BLE001 - the others have to be ended, too
                log.exception("reader.unended")
        if principal in self._of:
            asyncio.get_running_loop().call_soon(self.end, principal)

    def _due(self) -> None:
        """End the readers whose time has come; the clock may still be behind the loop's timer."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, _, principal = heapq.heappop(self._heap)
            self._waits.discard(principal)
            if principal.until > now and principal in self._of:
                self._wait_for(principal)  # it was vouched for again meanwhile
            else:
                self.end(principal)
        self._arm()

    def _wait_for(self, principal: Holder) -> None:
        self._waits.add(principal)
        heapq.heappush(self._heap, (principal.until, next(self._numbers), principal))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            # The clock may be set while nobody looks, so somebody does twice a second.
            wait = min(max(self._heap[0][0] - self._clock(), 0.0), 0.5)
            self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _tidy(self) -> None:
        """Forget those in the heap who have no readers any more, when they are many."""
        if len(self._heap) < 2 * len(self._of) + FORGOTTEN:
            return
        self._heap = [item for item in self._heap if item[2] in self._of]
        heapq.heapify(self._heap)
        self._waits = {principal for _, _, principal in self._heap}
