"""A stream that is followed at its origin, with its feed, its follower and its latest news."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.edge.comparison import unknown_server
from gateway.edge.followed.client_reads import ClientReads
from gateway.edge.followed.known_state import KnownState
from gateway.edge.followed.stand_ins import RecentData
from gateway.edge.polls.follower import Follower
from gateway.edge.polls.poll_loop import OriginPollLoop
from gateway.edge.polls.poller import Poller
from gateway.edge.polls.reader_requests import ReaderRequests
from gateway.edge.polls.recent_window import RecentWindow
from gateway.edge.polls.verification import UNSURE, Verification
from gateway.edge.reads.order import BEFORE_ALL
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.errors import HeadgateError, OriginBroken, OriginBusy, StreamGone, StreamNotFound
from gateway.later import Later, is_set_within
from gateway.live.feed import Feed
from gateway.protocol.origins.followed import Snapshot, Span
from gateway.protocol.streams.offsets import NOW
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.edge.comparison import Evidence
    from gateway.edge.followed.registry import Registry
    from gateway.edge.polls.follower import PollResult
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.protocol.streams.reach import TailBound


class StreamRevalidation:
    """The comparisons of one stream's known data with its origin, which readers can wait for.

    `poll_loop` is None for a stream that had ended before it was followed: it is not compared.
    """

    def __init__(self, verification: Verification, poll_loop: OriginPollLoop | None) -> None:
        self._verification = verification
        self._poll_loop = poll_loop
        self._comparison: Later[None] = Later()  # set at the end of the next one
        self._restart: asyncio.Handle | None = None

    @property
    def can_be_compared(self) -> bool:
        """True if the stream's data can be compared: it was open when following began."""
        return self._poll_loop is not None

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of the newest data, with the server that has them, if one is known."""
        verified = self._verification
        server = unknown_server() if verified.is_in_doubt else verified.server
        return verified.window.evidence_by(server)

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Compare the known data before new data are appended, and repeat the poll under way.

        `is_shorter` is True if a response has shown a stream that ends before the known end.
        """
        if self._poll_loop is None:
            return
        is_comparing = self._verification.is_in_doubt
        self._verification.doubt(is_shorter=is_shorter)
        if not is_comparing and self._restart is None:
            # Not at once: the caller may be the connection that the poll is on.
            self._restart = asyncio.get_running_loop().call_soon(self._restart_poll)

    def _restart_poll(self) -> None:
        self._restart = None
        if self._poll_loop is not None:
            self._poll_loop.start_over(OriginBusy(UNSURE))

    def hurry(self) -> None:
        """Compare now, without the pause after a failure.

        It is called when a response on another connection shows that the origin can be reached.
        """
        if self._restart is not None:
            self._restart.cancel()
            self._restart_poll()
        if self._poll_loop is not None:
            self._poll_loop.hurry()

    async def until_compared(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until a comparison, or the stream's feed, has ended."""
        await is_set_within(self._comparison, timeout_s)

    def on_settled(self) -> None:
        """Wake the readers that wait, because the comparison is over or will not take place."""
        comparison, self._comparison = self._comparison, Later[None]()
        comparison.set_result(None)


class FollowedStream:
    """A stream that is followed at its origin for its live readers.

    `evidence` is of the data before its tail, if a client has read them. Without `has_tail` the
    origin has only echoed the tail to a client that asked from there.
    """

    def __init__(
        self,
        request: CacheRequest,
        snapshot: Snapshot,
        registry: Registry[FollowedStream],
        evidence: Evidence | None = None,
        *,
        has_tail: bool = True,
    ) -> None:
        self.lenders = lenders = ReaderRequests(request)
        self.key, self.path = request.stream_key, request.path
        self.is_only_compared = False  # no client has asked for its news
        self.rests_until = 0.0  # as in Variant, once its recent data have stood in
        self.closing: asyncio.TimerHandle | None = None
        self.resources = ExitStack()  # released with the stream
        self._registry = registry
        self.feed: Feed[FollowedStream, Span] = Feed(
            self, snapshot.tail, registry.source, registry, closed=snapshot.closed
        )
        self.feed.caught_up = snapshot.caught_up
        content_type, origin = snapshot.content_type, registry.origin
        self._window = window = RecentWindow(content_type, snapshot.tail, registry.budget)
        window.evidence = evidence
        self.verification = verification = Verification(window, self._on_settled)
        is_newest = partial(registry.evidence.is_newest, self.key)
        self.state = state = KnownState(
            snapshot,
            self.feed,
            verification,
            lenders,
            origin.freshness,
            is_newest,
            has_tail=has_tail,
        )
        self.reads = ClientReads(state, verification, lenders, self.note_write, registry.clock)
        others, on_directives = registry.evidence.others(request), state.note_directives
        poller = Poller(origin, lenders, content_type, verification, others, on_directives)
        self._following: OriginPollLoop | None = None
        if not (snapshot.closed and snapshot.caught_up):  # else nothing can follow
            follower = Follower(snapshot.tail, self, random.random)
            self._following = OriginPollLoop(
                origin.client, follower, poller, registry.poll_timer, self._on_error, self.doubt
            )
        self.trust = StreamRevalidation(verification, self._following)

    @override
    def __repr__(self) -> str:
        health = self.feed.lost or "followed"
        return f"<FollowedStream {self.path} at {self.state.snapshot.tail}, {health}>"

    @property
    def has_tail(self) -> bool:
        """True unless the tail is only an offset that the origin has echoed."""
        return self.state.has_tail or self._window.newest is not None

    def reaches(self, offset: str) -> bool:
        """Return whether a reader at an offset can be served without asking the origin first."""
        return not self.feed.closed and (
            offset in {self.feed.position, self.feed.tail} or self.since(offset) is not None
        )

    def may_wait(self, offset: str) -> bool:
        """Return whether a poll from an offset is to wait in the feed, for news or for its turn.

        A poll that is behind comes after those that wait for data that are already there.
        """
        feed = self.feed
        if feed.closed:
            return False
        if offset in {feed.position, feed.tail}:
            return True
        if self.verification.is_behind or offset == NOW:
            return False
        return feed.long_polls.has_turns and feed.long_polls.reaches(offset)

    def since(self, offset: str) -> Span | None:
        """Return the news after an offset as one span, or None if they are not in memory."""
        # Known news may be of a stream that is gone.
        return None if self.verification.is_behind else self._window.since(offset)

    def latest(self, start: str) -> Span | None:
        """Return the latest news if they begin at `start`, however long they are, or None."""
        last = None if self.verification.is_behind else self._window.last
        return last if last is not None and last.start == start else None

    def in_place(self, request: CacheRequest) -> CachedResponse | None:
        """Return a response made of recent news that may stand in for the origin's, or None."""
        span = self.since(request.start)
        # In responses to polls the origin may leave out Vary.
        if span is None or (self.reads.vary and self.state.snapshot.read_directives is None):
            return None
        state = self.state
        recent = RecentData(state.snapshot, span, self.lenders.request, state.confirmed_at)
        return self._registry.stand_ins.of(recent, request)

    # Reads and writes of clients

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Let known data be compared before more are joined, and repeat the request under way.

        `is_shorter` is True if an answer has shown a stream that ends before the known end.
        """
        self.trust.doubt(is_shorter=is_shorter)
        self.state.mark_changed()

    def _on_settled(self) -> None:
        self.trust.on_settled()
        self._registry.on_compared(self)

    def note_write(self, written: TailBound) -> None:
        """Note a write: the tail is unknown until the origin's poll reports it."""
        if self.feed.closed and not (written.closed and written.tail == self.feed.tail):
            self.end(StreamGone(ANOTHER_STREAM))  # nothing can be written after an end
            return
        self.state.note_write(written)

    def ask_anew(self) -> None:
        """Ask the origin again where the stream ends: anything may have been written.

        A poll that is under way is cut, since its answer may be older than these writes.
        """
        if self.feed.closed or self._following is None:
            self.let_go(StreamGone(ANOTHER_STREAM))  # another stream may be there
            return
        self.state.mark_behind()
        self.doubt()

    def verify(self, snapshot: Snapshot, *, ends: bool) -> bool:
        """Return whether a read, which perhaps `ends`, can be of this stream; if not, end it."""
        if not self.state.contradicts(snapshot, ends=ends):
            return True
        self.end(StreamGone(ANOTHER_STREAM))
        return False

    # Results from the follower

    def on_answer(self, start: str, polled: PollResult) -> None:
        """Publish what the origin has after `start` to the registry and the feed."""
        news = [Span(start, polled.end, polled.body)] if polled.end != start else []
        asked = self._following
        sent_at, number = (0.0, BEFORE_ALL) if asked is None else (asked.sent_at, asked.number)
        snapshot = self.state.note_answer(polled, self._registry.clock(), sent_at, number)
        for span in news:
            self._window.append(span)
        if news:
            self.state.has_tail = True
            self._registry.evidence.note_offset(self, snapshot.tail)
        if news or snapshot.closed:
            self._registry.on_growth(self)
        self.feed.publish(
            self, snapshot.tail, news, closed=snapshot.closed, caught_up=snapshot.caught_up
        )

    def on_hold(self) -> None:
        """Note that the origin holds the poll, and so can be reached."""
        self.state.confirm(self._registry.clock())
        self.feed.lost = None
        if self._following is not None:
            self.state.restore(self._following.number)

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Note a failure, and unless `quietly` refuse the polls; SSE readers stay connected."""
        self.verification.doubt()
        self.state.mark_unconfirmed()
        if not quietly:
            self.feed.suspend(reason)

    def end(self, reason: HeadgateError) -> None:
        """Disconnect all readers of a stream that is gone, and tell the operator."""
        self._registry.log_loss(self, reason)
        self.let_go(reason)

    def let_go(self, reason: HeadgateError) -> None:
        """Disconnect all readers without telling the operator, as after a DELETE by a client."""
        if isinstance(reason, StreamGone | StreamNotFound):
            self._registry.evidence.lose(self, *self.verification.lost)
        self._registry.on_end(self)
        self.feed.end(reason, self.verification.spares)

    def _on_error(self, error: Exception) -> None:
        log.error("follower.failed", stream=self.path, exc_info=error)
        self.end(OriginBroken("the origin's answer to a long-poll could not be used"))

    def close(self) -> None:
        """Stop following the stream."""
        if self.closing is not None:
            self.closing.cancel()
        if self._following is not None:
            self._following.stop()
        self._window.close()
        self.trust.on_settled()
