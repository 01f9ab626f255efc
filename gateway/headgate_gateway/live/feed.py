"""The live readers of one stream, written to in rounds.

News gathers in a pending list. A round renders it once and writes the same bytes to all readers.
An idle feed starts a round at once. Under load the next round waits for a quarter of the time that
the last one took, so that the loop reads input and news gathers in between.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import override

from headgate_gateway.live.feed_state import FeedState, Round
from headgate_gateway.live.long_polls import LongPolls
from headgate_gateway.live.source import N, V
from headgate_gateway.live.sse_readers import SseReaders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.contract import ParkableConnection, Waiter
    from headgate_gateway.live.source import FeedSource
    from headgate_gateway.live.sse_readers import SseReader
    from headgate_gateway.protocol.requests import LongPoll
    from headgate_gateway.telemetry.traffic import Ended, Polls

    Join = Callable[[], "Feed[Any, Any]"]  # counts one more reader; raises at the limit of readers

# Pause behind a round, as a share of its duration: 0.1 let the longest delays grow, 1 doubled p50.
PAUSE_SHARE = 0.25
LONGEST_PAUSE_S = 0.05


class Feed(FeedState[V], Generic[V, N]):
    """The live readers of one stream."""

    __slots__ = (
        *("_earliest_round", "_has_unsent", "_is_round_due", "_on_empty", "_pending"),
        *("_pending_since", "long_polls", "sse_readers"),
    )

    def __init__(
        self,
        stream: V,
        tail: str,
        source: FeedSource[V, N],
        on_empty: Callable[[Feed[V, N]], None],
        *,
        closed: bool,
    ) -> None:
        """Call `on_empty` whenever the feed has no reader any more."""
        super().__init__(stream, tail, source, closed=closed)
        self._on_empty = on_empty
        self._earliest_round = 0.0  # loop time
        self._is_round_due = False  # a round was requested, or is being sent
        self._pending: list[N] = []  # the news since the last round
        self._pending_since = 0.0  # perf_counter
        self._has_unsent = False  # news, or a change that is sent without any
        self.long_polls: LongPolls[V, N] = LongPolls(self)
        self.sse_readers: SseReaders[V, N] = SseReaders(self)

    # Readers

    @property
    def has_readers(self) -> bool:
        """True while a reader waits for the stream."""
        return bool(self.long_polls.parked or self.sse_readers)

    @property
    def reader_count(self) -> int:
        """The number of readers."""
        return len(self.long_polls.parked) + len(self.sse_readers)

    def remove(self, waiter: Waiter, ended: Ended = "client") -> bool:
        """Remove a waiter, for example one that disconnected; return whether it waited."""
        return self.long_polls.remove(waiter, ended)

    def join(self, reader: SseReader) -> None:
        """Send an SSE reader everything after its position."""
        self.set_timer(self.sse_readers.add(reader))
        reader.advance()

    @override
    def release_reader(self) -> None:
        self.source.services.release_reader()
        if not self.long_polls.parked and not self.has_readers:  # the former costs no call
            self.cancel_timer()
            self._on_empty(self)

    @override
    def cut_off(self) -> None:
        # After an unexpected failure it is not known which reader has been sent what.
        self._is_round_due = False
        self._pending.clear()
        self.position = self.tail
        self.long_polls.abandon()
        self.sse_readers.drop_all()
        self._report_if_empty()

    def _report_if_empty(self) -> None:
        """Notify the owner if the feed has no reader."""
        if not self.has_readers:
            self._on_empty(self)

    # News

    def publish(
        self,
        stream: V,
        tail: str,
        news: Sequence[N],
        *,
        closed: bool,
        caught_up: bool = True,
    ) -> None:
        """Set the stream's new state, and send the news to all readers in the next round."""
        now = perf_counter()
        reached = caught_up and not self.caught_up
        self.stream, self.tail, self.closed, self.caught_up = stream, tail, closed, caught_up
        self.lost = None
        if news:
            if not self._pending:
                self._pending_since = now
            self._pending.extend(news)
        if self.long_polls.add_news(news, now):
            self.run(self.long_polls.serve, self.reader_count)
        if self._pending or closed or reached:
            # Also read at a round's end, before which none is scheduled.
            self._has_unsent = True
            self._request_round()

    def mark_behind(self) -> None:
        """Note that more data follows the tail, so that no response says "up to date"."""
        self.caught_up = False
        self.long_polls.answers.renew()

    def suspend(self, reason: HeadgateError) -> None:
        """Refuse the polls, because no news can arrive for a while; SSE readers wait."""
        self.lost = reason
        # Polls that lack earlier news get that first.
        self.run(self.long_polls.serve, self.reader_count)
        self.long_polls.refuse(reason, "error")

    def end(self, reason: HeadgateError, spares: Callable[[str], bool] = lambda _: False) -> None:
        """Refuse the polls of a stream that was deleted, and end the SSE responses.

        A poll for whose offset `spares` returns True gets the present state instead.
        """
        self.long_polls.refuse(reason, "closed", spares)
        self._finish()

    def break_off(self, reason: HeadgateError) -> None:
        """End all responses, because another stream has taken the place of this one."""
        self.long_polls.break_off(reason)
        self._finish()

    def _finish(self) -> None:
        self._pending.clear()
        self.sse_readers.finish_all()
        self._report_if_empty()

    # Rounds

    def _request_round(self) -> None:
        """Start a round at the earliest time, unless one is due or being sent."""
        if self._is_round_due:
            return
        self._is_round_due = True
        if self._earliest_round > self.loop.time():
            self.loop.call_at(self._earliest_round, self.run, self._send_round)
        else:
            self.call_soon(self._send_round)

    def _send_round(self) -> None:
        began = self.loop.time()
        self.call_soon(self._end_round, began)
        one = Round(self.position, self._pending, self._pending_since)
        self.position = self.tail
        self._pending, self._has_unsent = [], False
        self.long_polls.serve_round(one)
        self.sse_readers.write_round(one)

    def _end_round(self, began: float) -> None:
        """Request another round if there is more to send, and let readers ahead join it.

        It is called a pass of the loop after the round, when the sockets were written to.
        """
        now = self.loop.time()
        self._earliest_round = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self._is_round_due = False
        if self._has_unsent or self.position != self.tail:
            self._request_round()
        self.sse_readers.advance_ahead()

    # Time

    @override
    def _tick(self) -> None:
        """Do what is due: end polls and old SSE responses, and send heartbeats."""
        now = self.loop.time()
        self.long_polls.end(now, news_wait=bool(self._pending))
        self.sse_readers.tick(now)
        if self.long_polls.parked:
            due = next(iter(self.long_polls.parked.values())).deadline
            self.set_timer(max(due, now + LONGEST_PAUSE_S) if due <= now else due)
        if self.sse_readers:
            self.set_timer(self.sse_readers.due(now))

    def drain(self) -> None:
        """Answer all polls and end the SSE responses, in lots, new ones last: the server stops."""
        now = self.loop.time()
        self.long_polls.hurry(now)
        self.sse_readers.hurry(now)
        self.cancel_timer()
        self._tick()


def park(
    connection: ParkableConnection,
    feed: Feed[Any, Any],
    read: LongPoll,
    position: str,
    counted: Polls,
) -> None:
    """Let a connection, which `feed` counts as joined, wait for its response without a task."""
    try:
        connection.defer(feed.remove, counted)
        feed.long_polls.park(connection, read, position)
    except BaseException:
        if not feed.remove(connection):
            feed.release_reader()
        raise
