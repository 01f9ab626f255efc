"""The state that the parts of a feed share, and the times of its steps, its rounds and its end."""

from __future__ import annotations

import abc
import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic

from gateway.live.contract import V
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedSource

# Pause behind a round, as a share of its duration: 0.1 let the longest delays grow, 1 doubled p50.
PAUSE_SHARE = 0.25
LONGEST_PAUSE_S = 0.05
LOT_S = 0.05  # readers of one lot are ended together, in one turn of the loop
# A server that has just started accepts so many connections without delaying anybody.
READERS_PER_S = 1000


class FeedState(abc.ABC, Generic[V]):
    """The state of a feed's stream, and the times of the feed's steps.

    `stream` is the stream as its route represents it, and `tail` is the offset at which it ends.
    Rounds were sent up to the offset `position`. `caught_up` is True while nothing is known to
    follow the tail. `lost` is the reason why no news can arrive at the moment, if there is one.

    A failure in a step leaves no reader waiting for one that never comes: it is logged, and all
    readers are cut off. `call_soon` runs a step so in the next pass of the loop. `due` is the time
    of the next `tick` (loop time), `inf` while none is set. Rounds start at once when the feed is
    idle, and with a pause behind each one under load.
    """

    __slots__ = (
        *("_earliest_round", "_is_round_due", "_pause_s", "_round_timer", "_timer", "call_soon"),
        *("caught_up", "closed", "due", "loop", "lost", "position", "source", "stream", "tail"),
    )

    def __init__(
        self, stream: V, tail: str, source: FeedSource[V, Any], *, closed: bool, pause_s: float
    ) -> None:
        """Let news gather for `pause_s` seconds before each round."""
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
        self._pause_s = pause_s
        self._earliest_round = 0.0  # loop time
        self._round_timer: asyncio.TimerHandle | None = None  # of the round that is due
        self._is_round_due = False  # a round was requested, or is being sent

    @abc.abstractmethod
    def cut_off(self) -> None:
        """Close the connections of all readers, whose clients resume from their offsets."""

    @abc.abstractmethod
    def release_reader(self) -> None:
        """Count one reader less, which waited or was about to wait."""

    @abc.abstractmethod
    def _tick(self) -> None:
        """Do what is due."""

    @abc.abstractmethod
    def _send_round(self, began: float) -> None:
        """Send a round, which begins at this loop time."""

    @abc.abstractmethod
    def _round_sent(self) -> None:
        """Go on a pass of the loop after a round, when the sockets were written to."""

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Call `step` now; if it fails, cut all readers off."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the readers must not wait for ever
            log.exception("feed.failed")
            self.cut_off()

    # Timer

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

    # Rounds

    def _request_round(self, *, at_once: bool = False) -> None:
        """Start a round at the earliest time, unless one is due or being sent.

        With `at_once`, nothing waits for more news.
        """
        if self._is_round_due:
            if at_once and self._round_timer is not None:
                self._round_timer.cancel()
                self._round_timer = None
                self.call_soon(self._start_round)
            return
        self._is_round_due = True
        now = self.loop.time()
        earliest = max(self._earliest_round, now if at_once else now + self._pause_s)
        if earliest > now:
            self._round_timer = self.loop.call_at(earliest, self.run, self._start_round)
        else:
            self.call_soon(self._start_round)

    def _start_round(self) -> None:
        self._round_timer = None
        began = self.loop.time()
        self.call_soon(self._end_round, began)
        self._send_round(began)

    def _end_round(self, began: float) -> None:
        now = self.loop.time()
        self._earliest_round = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self._is_round_due = False
        self._round_sent()


def drain_times(now: float, count: int, longest_s: float) -> Iterator[float]:
    """Yield a time for each of `count` readers, from `now` on in ascending order.

    The readers of a stream are ended at READERS_PER_S, and sooner where that takes over `longest_s`
    seconds.
    """
    span = min(longest_s, count / READERS_PER_S)
    for number in range(count):
        yield now + number * span / count // LOT_S * LOT_S
