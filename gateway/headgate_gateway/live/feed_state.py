"""The state of a feed, as its readers see it, and the times of its steps."""

from __future__ import annotations

import abc
import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from headgate_gateway.live.source import N, V
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.source import FeedSource

LOT_S = 0.05  # readers of one lot are ended together, in one turn of the loop
# A server that has just started accepts so many connections without delaying anybody.
READERS_PER_S = 1000
# seconds; readers that come back meanwhile wait for the next process
DRAIN_S = 1.5


class Round(NamedTuple, Generic[N]):
    """The news that follows the offset `start`, the oldest of which arrived at `arrived_at`."""

    start: str
    news: Sequence[N]
    arrived_at: float  # perf_counter


class FeedState(abc.ABC, Generic[V]):
    """The state of a feed's stream, and the times of the feed's steps.

    `stream` is the stream as its route represents it, and `tail` is the offset at which it ends.
    Rounds were sent up to the offset `position`. `caught_up` is True while nothing is known to
    follow the tail. `lost` is the reason why no news can arrive at the moment, if there is one.

    A failure in a step leaves no reader waiting for one that never comes: it is logged, and all
    readers are cut off. `call_soon` runs a step so in the next pass of the loop. `due` is the time
    of the next `_tick` (loop time), `inf` while none is set.
    """

    __slots__ = (
        *("_timer", "call_soon", "caught_up", "closed", "due", "loop", "lost", "position"),
        *("source", "stream", "tail"),
    )

    def __init__(self, stream: V, tail: str, source: FeedSource[V, Any], *, closed: bool) -> None:
        self.stream = stream
        self.tail = self.position = tail
        self.source = source
        self.closed = closed
        self.caught_up = True
        self.lost: HeadgateError | None = None
        self.loop = asyncio.get_running_loop()
        # A partial, not a method: a requested step is lost only if the loop itself fails.
        self.call_soon: Callable[..., asyncio.Handle] = partial(
            self.loop.call_soon,
            self.run,  # type: ignore[arg-type] # its arguments come with each call
        )
        self.due = inf
        self._timer: asyncio.TimerHandle | None = None

    @abc.abstractmethod
    def cut_off(self) -> None:
        """Close the connections of all readers, whose clients resume from their offsets."""

    @abc.abstractmethod
    def release_reader(self) -> None:
        """Count one reader less, which waited or was about to wait."""

    @abc.abstractmethod
    def _tick(self) -> None:
        """Do what is due."""

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Call `step` now; if it fails, cut all readers off."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the readers must not wait for ever
            log.exception("feed.failed")
            self.cut_off()

    def set_timer(self, due: float) -> None:
        """Call `_tick` at a time of the loop, unless an earlier call is set already."""
        if due < self.due:
            self.cancel_timer()
            self.due = due
            self._timer = self.loop.call_at(due, self.run, self._on_timer)

    def cancel_timer(self) -> None:
        """Cancel the call, if one is set."""
        self.due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self.due, self._timer = inf, None
        self._tick()


def drain_times(now: float, count: int) -> Iterator[float]:
    """Yield a time for each of `count` readers, from `now` on in ascending order.

    The readers of a stream are ended at READERS_PER_S, and sooner where that takes over DRAIN_S.
    """
    span = min(DRAIN_S, count / READERS_PER_S)
    for number in range(count):
        yield now + number * span / count // LOT_S * LOT_S
