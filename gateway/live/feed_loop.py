"""The event loop as a feed uses it, and the times of its rounds, its timer and its end.

A failure in one of a feed's steps leaves no reader waiting.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Pause behind a round, as a share of its duration: 0.1 let the longest delays grow, 1 doubled p50.
PAUSE_SHARE = 0.25
LONGEST_PAUSE_S = 0.05
LOT_S = 0.05  # readers of one lot are ended together, in one turn of the loop
# A server that has just started accepts so many connections without delaying anybody.
READERS_PER_S = 1000


class FeedLoop:
    """The running event loop, for the steps of one feed.

    An exception in a step is logged, and `on_failure` is called. Without that, readers would wait
    for a step that never comes. `call_soon` runs a step so in the next pass of the loop.
    """

    __slots__ = ("_loop", "_on_failure", "call_soon", "time")

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self.time = self._loop.time
        # A partial, not a method: a requested step is lost only if the loop itself fails.
        self.call_soon: Callable[..., asyncio.Handle] = partial(
            self._loop.call_soon,
            self.run,  # type: ignore[arg-type] # its arguments come with each call
        )

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Call `step` now."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the readers must not wait for ever
            log.exception("feed.failed")
            self._on_failure()

    def call_at(self, when: float, step: Callable[..., None]) -> asyncio.TimerHandle:
        """Call `step` at a time of the loop."""
        return self._loop.call_at(when, self.run, step)


class DueTimer:
    """The timer of a feed, which calls `on_due` at the earliest of the times that were set.

    `due` is that time (loop time), and `inf` while none is set.
    """

    __slots__ = ("_loop", "_on_due", "_timer", "due")

    def __init__(self, loop: FeedLoop, on_due: Callable[[], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self.due = inf

    def set(self, due: float) -> None:
        """Call `on_due` at a time of the loop, unless an earlier call is set already."""
        if due < self.due:
            self.cancel()
            self.due = due
            self._timer = self._loop.call_at(due, self._fire)

    def cancel(self) -> None:
        """Cancel the call, if one is set."""
        self.due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self.due, self._timer = inf, None
        self._on_due()


class RoundSchedule:
    """The times of a feed's rounds: at once when idle, with a pause behind each one under load.

    With `pause_s`, the first news of a round waits that long for more. `send` is called for each
    round, with the loop time. `on_sent` is called a pass of the loop later, when the sockets were
    written to.
    """

    __slots__ = ("_earliest", "_loop", "_on_sent", "_pause_s", "_send", "_timer", "is_due")

    def __init__(
        self,
        loop: FeedLoop,
        send: Callable[[float], None],
        on_sent: Callable[[], None],
        pause_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._loop = loop
        self._send = send
        self._on_sent = on_sent
        self._earliest = 0.0  # loop time
        self._timer: asyncio.TimerHandle | None = None  # of the round that is due
        self.is_due = False  # a round was requested, or is being sent

    def request(self, *, at_once: bool = False) -> None:
        """Start a round at the earliest time, unless one is due or being sent.

        With `at_once`, nothing waits for more news.
        """
        if self.is_due:
            if at_once and self._timer is not None:
                self._timer.cancel()
                self._timer = None
                self._loop.call_soon(self._start)
            return
        self.is_due = True
        now = self._loop.time()
        earliest = max(self._earliest, now if at_once else now + self._pause_s)
        if earliest > now:
            self._timer = self._loop.call_at(earliest, self._start)
        else:
            self._loop.call_soon(self._start)

    def reset(self) -> None:
        """Let the next request start a round, after a failure."""
        self.is_due = False

    def _start(self) -> None:
        self._timer = None
        began = self._loop.time()
        self._loop.call_soon(self._end, began)
        self._send(began)

    def _end(self, began: float) -> None:
        now = self._loop.time()
        self._earliest = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self.is_due = False
        self._on_sent()


def drain_times(now: float, count: int, longest_s: float) -> Iterator[float]:
    """Yield a time for each of `count` readers, from `now` on in ascending order.

    The readers of a stream are ended at READERS_PER_S, and sooner where that takes over `longest_s`
    seconds.
    """
    span = min(longest_s, count / READERS_PER_S)
    for number in range(count):
        yield now + number * span / count // LOT_S * LOT_S
