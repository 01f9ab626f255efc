"""The rounds in which a feed sends its news: what the next one has, and when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, NewsAge

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.live.feed_loop import FeedLoop

# Pause behind a round, as a share of its duration: 0.1 let the longest delays grow, 1 doubled p50.
PAUSE_SHARE = 0.25
LONGEST_PAUSE_S = 0.05


class PendingNews(Generic[N]):
    """The news since the last round, and its age."""

    __slots__ = ("_arrived_at", "_trace_id", "has_unsent", "news")

    def __init__(self) -> None:
        self.news: list[N] = []
        self.has_unsent = False  # news, or a change that is sent without any
        self._arrived_at = 0.0  # the oldest news, by perf_counter
        self._trace_id: str | None = None  # of the newest append that has one

    def add(self, news: Sequence[N], age: NewsAge) -> None:
        """Add news that has arrived now."""
        if news:
            if not self.news:
                self._arrived_at = age.at
            self._trace_id = age.trace_id or self._trace_id
            self.news.extend(news)

    def drain(self) -> tuple[list[N], NewsAge]:
        """Return all news with its age, and start anew."""
        news, age = self.news, NewsAge(self._arrived_at, self._trace_id)
        self.news, self._trace_id, self.has_unsent = [], None, False
        return news, age


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
