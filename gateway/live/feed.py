"""The live readers of one stream, written to in rounds.

What is published gathers in a pending list; a round renders it once, and everybody is written the
same bytes: long-polls at once, SSE readers in turn. When the feed is idle a round comes at once;
under load it waits for a quarter of the time that the last one took, so that input is read and
events gather while the feed is busy.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Protocol

from gateway.live.contract import N, NewsAge, ReaderState, V
from gateway.live.event_rounds import Round
from gateway.live.long_polls import LongPolls
from gateway.live.sse_readers import SseReaders
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import begins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedSource, Parkable, Waiter
    from gateway.live.sse_readers import SseReader
    from gateway.protocol.requests import LongPoll
    from gateway.telemetry.inspection import ReaderMode
    from gateway.telemetry.live_traffic import Ended
    from gateway.telemetry.spans import Trail

    Join = Callable[[], "Feed[Any, Any]"]  # one more reader of a feed; raises at their limit

PAUSE_SHARE = 0.25  # of a round's duration until the next one: 0.1 let the tail grow, 1 doubled p50
LONGEST_PAUSE_S = 0.05


class FeedOwner(Protocol[V, N]):
    """The maker of a feed, which is notified of its readers."""

    def reader_left(self) -> None:
        """Count one live reader less."""

    def feed_empty(self, feed: Feed[V, N]) -> None:
        """Take note that the feed has no reader any more."""


class Feed(Generic[V, N]):
    """The live readers of one stream. `position` is what they have been told up to.

    `stream` is the stream as its route knows it, `tail` where it ends. `lost` says why news
    cannot come at the moment.
    """

    __slots__ = (
        "_due",
        "_earliest",
        "_has_untold",
        "_loop",
        "_news_at",
        "_owner",
        "_pending",
        "_round_waits",
        "_serves",
        "_timer",
        "_trace_id",
        "caught_up",
        "closed",
        "long_polls",
        "lost",
        "position",
        "sse_readers",
        "stream",
        "tail",
        "traffic",
        "trail",
    )

    def __init__(
        self,
        stream: V,
        tail: str,
        source: FeedSource[V, N],
        owner: FeedOwner[V, N],
        *,
        closed: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self.stream = stream
        self.tail = self.position = tail
        self.closed = closed
        self.caught_up = True  # nothing is known to follow the tail
        self.lost: HeadgateError | None = None
        self.traffic = source.traffic
        self._pending: list[N] = []
        self._news_at = 0.0  # when the oldest that is pending was there, by perf_counter
        self._trace_id: str | None = None  # of the newest
        self.long_polls = LongPolls(self, source)
        self.sse_readers = SseReaders(self, source)
        self._round_waits = False
        self._serves = False
        self._has_untold = False  # news, or an end that has none, since the last round
        self._earliest = 0.0
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self.trail: Trail | None = None  # where deliveries are traced

    # Readers

    @property
    def has_readers(self) -> bool:
        """True while a reader waits for the stream."""
        return bool(self.long_polls.parked or self.sse_readers.ends)

    @property
    def expects_readers(self) -> bool:
        """True if many polls were answered just now: their clients will be back at once."""
        return not self.closed and self.long_polls.are_coming_back

    @property
    def reader_count(self) -> int:
        """Number of readers."""
        return len(self.long_polls) + len(self.sse_readers)

    def readers(self, most: int) -> list[ReaderState]:
        """Return the states of `most` readers at most, the furthest behind first."""
        found = [
            *(ReaderState("sse", *told) for told in self.sse_readers.readers(most)),
            *(ReaderState("long-poll", *told) for told in self.long_polls.readers(most)),
        ]
        return sorted(found, key=attrgetter("offset"))[:most]

    @property
    def readers_by_mode(self) -> dict[ReaderMode, int]:
        """Return the number of readers by their mode."""
        return {"sse": len(self.sse_readers), "long-poll": len(self.long_polls)}

    @property
    def is_busy(self) -> bool:
        """True while polls wait for their turn."""
        return self.long_polls.has_turns

    def reaches(self, position: str) -> bool:
        """Return whether a poll from an offset before the tail needs no read."""
        return self.long_polls.reaches(position)

    def park(self, waiter: Waiter, read: LongPoll, position: str) -> None:
        """Let a waiter at the tail wait for the next data, or for its time to be over."""
        self._arm(self.long_polls.park(waiter, read, position))
        self._serve_later()

    def leave(self, waiter: Waiter, ended: Ended = "client") -> bool:
        """Remove a waiter, for example because its client is gone; return whether it waited."""
        return self.long_polls.leave(waiter, ended)

    def join(self, reader: SseReader) -> None:
        """Serve an SSE reader from its position on."""
        self._arm(self.sse_readers.add(reader))
        reader.advance()

    def left(self) -> None:
        """Count one reader less: it waited, or was about to wait."""
        self._owner.reader_left()
        if not self.has_readers:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._owner.feed_empty(self)

    def cut_off(self) -> None:
        """End every connection that waits: its client comes back with its offset.

        Something has failed here, and nobody can say who has been told what.
        """
        self._round_waits = False
        self._pending.clear()
        self.position = self.tail
        self.long_polls.abandon()
        self.sse_readers.drop_all()
        self._is_over()

    def _is_over(self) -> None:
        """Tell the owner that the feed is empty, if it has no reader."""
        if not self.has_readers:
            self._owner.feed_empty(self)

    def soon(self, step: Callable[[], None]) -> None:
        """Take a step in the next pass of the loop."""
        self._loop.call_soon(self._guarded, step)

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; whatever raises, nobody waits for ever."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the rounds would stand still
            log.exception("feed.failed")
            self.cut_off()

    # News

    def publish(
        self,
        stream: V,
        tail: str,
        news: Sequence[N],
        *,
        closed: bool,
        caught_up: bool = True,
        trace_id: str | None = None,
    ) -> None:
        """Take the stream's new state, and send the news to all readers in the next round.

        `trace_id` is that of the newest append among the news that has one.
        """
        now = perf_counter()
        if news:
            self._news_at = self._news_at if self._pending else now
            self._trace_id = trace_id or self._trace_id
        reached = caught_up and not self.caught_up
        self.stream, self.tail, self.closed, self.caught_up = stream, tail, closed, caught_up
        self.lost = None
        self._pending.extend(news)
        self.long_polls.published(news, NewsAge(now, trace_id))
        if self.long_polls.is_overfull:
            self._guarded(self.long_polls.serve, self.reader_count)
        if self._pending or closed or reached:
            self._has_untold = True  # also between a round and its end, when none is scheduled
            self._schedule()

    def is_behind(self) -> None:
        """More follows the tail than news have come of: nobody is told that he is up to date."""
        self.caught_up = False
        self.long_polls.renew()

    def lose(self, reason: HeadgateError) -> None:
        """News cannot come for a while: the polls are told, SSE readers wait."""
        self.lost = reason
        self._guarded(self.long_polls.serve, self.reader_count)  # who is told of what came before
        self.long_polls.refuse(reason, "error")

    def end(self, reason: HeadgateError, spares: Callable[[str], bool] = lambda _: False) -> None:
        """Refuse the polls of a stream that is gone; send the spared ones the present state."""
        self.long_polls.refuse(reason, "closed", spares)
        self._pending.clear()
        self.sse_readers.finish_all()
        self._is_over()

    def break_off(self, reason: HeadgateError) -> None:
        """End all readers: the stream is not the one that was followed any more."""
        self.long_polls.break_off(reason)
        self._pending.clear()
        self.sse_readers.finish_all()
        self._is_over()

    # Rounds

    def _schedule(self) -> None:
        if self._round_waits:
            return
        self._round_waits = True
        wait = self._earliest - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._guarded, self._round)
        else:
            self._loop.call_soon(self._guarded, self._round)

    def _round(self) -> None:
        began = self._loop.time()
        self._loop.call_soon(self._guarded, self._round_done, began)
        news, self._pending = self._pending, []
        self._has_untold = False
        start, self.position = self.position, self.tail
        polls = self.long_polls.tell(start, news, NewsAge(self._news_at, self._trace_id))
        self._serve_later()
        told = self.sse_readers.write_round(Round(start, news, self._news_at, self._trace_id))
        self._trace_id = None
        if self.trail is not None:
            self.trail.delivered(polls + told, self._loop.time() - began)

    def _round_done(self, began: float) -> None:
        """Set the time of the next round, a pass of the loop after the sockets were written to."""
        now = self._loop.time()
        self._earliest = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self._round_waits = False
        if self._has_untold or self.position != self.tail:
            self._schedule()
        self.sse_readers.advance_ahead()

    def _serve_later(self) -> None:
        """Answer the next of the polls for which there is news in another pass of the loop."""
        if self.long_polls.has_turns and not self._serves:
            self._serves = True
            self._loop.call_soon(self._guarded, self._serve)

    def _serve(self) -> None:
        self._serves = False
        self.long_polls.serve()
        self._serve_later()

    # Time

    def _arm(self, due: float) -> None:
        if self._timer is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._guarded, self._tick)

    def _tick(self) -> None:
        """Whatever is due: poll timeouts, the end of old SSE answers, a heartbeat."""
        self._timer = None
        now = self._loop.time()
        self.long_polls.end(now, news_wait=bool(self._pending))
        self.sse_readers.tick(now)
        if self.long_polls:
            due = self.long_polls.due
            self._arm(max(due, now + LONGEST_PAUSE_S) if due <= now else due)
        if self.sse_readers:
            self._arm(self.sse_readers.due(now))

    def drain(self) -> None:
        """Answer the polls, and end the SSE responses that are not fresh, for a stopping server."""
        now = self._loop.time()
        self.long_polls.hurry(now)
        self.sse_readers.hurry(now)
        if self._timer is not None:
            self._timer.cancel()
        self._tick()


def park(connection: Parkable, join: Join, read: LongPoll, position: str) -> None:
    """Keep a connection for the answer to a long-poll, without a task; raises what `join` does."""
    feed = join()
    try:
        connection.take(feed.leave, feed.traffic.polls[begins(read.offset)])
        feed.park(connection, read, position)
    except BaseException:
        connection.tell_loss(None)
        if not feed.leave(connection):
            feed.left()
        raise
