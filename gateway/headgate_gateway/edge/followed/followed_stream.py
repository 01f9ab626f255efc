"""A stream that is followed at its origin, with its feed, its polls and its latest news."""

from __future__ import annotations

import abc
import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.edge.followed.known_state import POLL, KnownState, Verification
from headgate_gateway.edge.followed.origin_reads import ReaderRequests, is_of_followed
from headgate_gateway.edge.followed.poll_loop import OriginPollLoop
from headgate_gateway.edge.followed.poller import Poller
from headgate_gateway.edge.followed.recent_window import RecentWindow
from headgate_gateway.edge.reads.shared_response import BEFORE_ALL
from headgate_gateway.errors import HeadgateError, OriginBroken, StreamGone
from headgate_gateway.live.feed import Feed
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW, TailBound
from headgate_gateway.rules import followed, policy
from headgate_gateway.rules.directives import wants_all
from headgate_gateway.rules.followed import Snapshot, Span
from headgate_gateway.rules.read_rules import ANOTHER_STREAM
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.origin_reads import PollResult
    from headgate_gateway.edge.followed.poller import PolledOrigin
    from headgate_gateway.edge.followed.recent_window import WindowBudget
    from headgate_gateway.edge.reads.http_cache import CacheResult
    from headgate_gateway.live.source import FeedSource
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.rules.repair import StreamRead
    from headgate_gateway.rules.response_rules import ResponseRules


class FollowedOwner(abc.ABC):
    """The owner of a route's followed streams, with what they share."""

    origin: PolledOrigin
    budget: WindowBudget
    evidence: StreamEvidence
    recent_rules: ResponseRules
    source: FeedSource[FollowedStream, Span]

    @abc.abstractmethod
    def on_feed_empty(self, feed: Feed[FollowedStream, Span]) -> None:
        """Follow a stream without readers a little longer, unless the server stops."""

    @abc.abstractmethod
    def on_growth(self, stream: FollowedStream) -> None:
        """Drop what is cached of the old tail: the stream has grown, or was closed."""

    @abc.abstractmethod
    def on_compared(self, stream: FollowedStream) -> None:
        """Release a stream that was followed only to be compared, or beside another feed."""

    @abc.abstractmethod
    def on_end(self, stream: FollowedStream, reason: HeadgateError, *, is_expected: bool) -> None:
        """Remove a stream that is gone, and drop what is cached of it."""


class FollowedStream:
    """A stream that is followed at its origin for its live readers.

    Without `has_tail` the origin has only echoed the tail to a client that asked from there. `vary`
    is True once the origin has had several variants of a read. `polls` is None for a stream that
    had ended before it was followed: it is not compared.
    """

    def __init__(
        self,
        request: CacheRequest,
        snapshot: Snapshot,
        owner: FollowedOwner,
        *,
        has_tail: bool = True,
    ) -> None:
        self.requests = requests = ReaderRequests(request)
        self.key = key = request.stream_key
        self.path = request.path
        self.is_only_compared = False  # no client has asked for its news
        # As in Variant, once its recent data were served since the origin fails.
        self.rests_until = 0.0
        self.closing: asyncio.TimerHandle | None = None
        self.resources = ExitStack()  # released with the stream
        self.vary = False
        self._owner = owner
        self.feed: Feed[FollowedStream, Span] = Feed(
            self, snapshot.tail, owner.source, owner.on_feed_empty, closed=snapshot.closed
        )
        self.feed.caught_up = snapshot.caught_up
        content_type, origin = snapshot.content_type, owner.origin
        self._window = RecentWindow(content_type, snapshot.tail, owner.budget)
        self._window.evidence = owner.evidence.up_to(key, snapshot.tail)  # if a client has read it
        self.verification = verification = Verification(
            self._window, partial(owner.on_compared, self)
        )
        newest, freshness = owner.evidence.newest, origin.freshness
        self.state = KnownState(
            snapshot, self.feed, verification, requests, freshness, newest, has_tail=has_tail
        )
        self.polls: OriginPollLoop | None = None
        if not (snapshot.closed and snapshot.caught_up):  # else nothing can follow
            poller = Poller(origin, self.state, owner.evidence)
            self.polls = OriginPollLoop(origin.client, poller, snapshot.tail, self, random.random)

    @override
    def __repr__(self) -> str:
        health = self.feed.lost or "followed"
        return f"<FollowedStream {self.path} at {self.state.snapshot.tail}, {health}>"

    # Data for readers

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
        return bool(feed.long_polls.due) and feed.long_polls.answers.recent.covers(offset)

    def since(self, offset: str, *, even_long: bool = False) -> Span | None:
        """Return the news after an offset as one span, or None if they are not in memory.

        With `even_long` the latest news is also returned if it is too long for the window.
        """
        if self.verification.is_behind:
            return None  # known news may be of a stream that is gone
        last = self._window.last
        is_last = even_long and last is not None and last.start == offset
        return self._window.since(offset) or (last if is_last else None)

    def known_answer(self, request: CacheRequest) -> tuple[Snapshot, Span] | None:
        """Return what is known of the stream right now, if that answers a request, or None."""
        state = self.state
        if state.knows_tail(request.start):
            tail = state.snapshot.tail
            return state.snapshot, Span(tail, tail, b"")
        if state.certainty == POLL and state.has_recent_directives and wants_all(request.headers):
            span = self.since(request.start)
            return None if span is None else (state.snapshot, span)
        return None

    def recent_response(self, request: CacheRequest) -> CachedResponse | None:
        """Return recent news as the response to a read while the origin fails, or None.

        The rules apply as if the origin had sent the news when it last confirmed the stream: no
        more clients get them, and for no longer, than a cached response.
        """
        span, state, owner = self.since(request.start), self.state, self._owner
        snapshot, directives = state.snapshot, state.snapshot.read_directives
        # In responses to polls the origin may leave out Vary.
        if span is None or (self.vary and directives is None):
            return None
        headers = CIMultiDict(
            [
                ("Content-Type", snapshot.content_type),
                (NEXT_OFFSET, span.end),
                (UP_TO_DATE, "true"),  # it was then; clients do not get this field
                *([(CLOSED, "true")] if snapshot.closed else []),
                *cache_headers.fields(
                    snapshot.poll_directives if directives is None else directives
                ),
                *cache_headers.fields(snapshot.cors),
            ]
        )
        times = policy.Times(state.confirmed_at, state.confirmed_at)
        cached, _ = owner.recent_rules.apply(request, 200, headers, times, span.body)
        is_for_it = cached.is_storable and is_of_followed(cached, self.requests.current)
        if not (is_for_it and policy.serves_error(cached.stored, owner.evidence.clock())):
            return None
        return cached.with_body(span.body)

    # Reads by clients

    def note_read(self, span: Span, result: CacheResult) -> None:
        """Note the data of a client's read, and the origin's cache directives for them."""
        cached, facts, known = result.cached, result.cached.facts, self.state.snapshot
        if facts is None:
            return
        if not is_of_followed(cached, self.requests.current):
            self.vary = True
            return
        if facts.up_to_date and span.end < known.tail:
            return  # the end of a shorter stream: an older state, or another stream
        if not followed.is_of_type(facts.content_type, known.content_type):
            return
        is_sure = not self.verification.is_in_doubt  # else it may be of another stream
        if is_sure and result.current and result.source is None:
            self._learn(span, facts, result.number)
        if span.end == self.state.snapshot.tail and not facts.is_empty and result.tail_is_known:
            self.state.note_directives(cached.data_directives)  # those of older parts may differ

    def _learn(self, span: Span, facts: StreamRead, number: int) -> None:
        """Note the data that the origin has just sent a reader, and the tail that they show.

        The poll may hang, or be at a server that lags. Until it reports as much, no
        response says that its reader is up to date.
        """
        # An empty read from the beginning shows that the news will be all of the stream.
        if not facts.is_coded and (not facts.is_empty or span.start == BEGINNING):
            self._window.learn(*span)
        is_tail = span.end == self.state.snapshot.tail
        if facts.up_to_date and is_tail:
            self.state.confirmed_at = self._owner.evidence.clock()
            self.state.restore(number)
        if self.feed.closed:
            return  # the answer was compared with the end when it came
        # A server may echo any offset past the tail, as if its reader were up to date.
        is_echoed = facts.is_empty and span.start != NOW
        if not is_echoed or is_tail:
            self.note_write(TailBound(span.end, facts.closed and facts.up_to_date))

    def is_after(self, number: int, content_type: str) -> bool:
        """Return whether a read of another type was sent before the stream was last confirmed.

        Then it may be of a stream that was there before.
        """
        known = self.state.snapshot
        return number < known.number and not followed.is_of_type(content_type, known.content_type)

    def verify(self, snapshot: Snapshot, *, ends: bool) -> bool:
        """Return whether a read, which perhaps `ends`, can be of this stream; if not, end it."""
        if not self.state.contradicts(snapshot, ends=ends):
            return True
        self.end(StreamGone(ANOTHER_STREAM))
        return False

    # Doubts and writes

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Let known data be compared before more are joined, and repeat the request under way.

        `is_shorter` is True if an answer has shown a stream that ends before the known end.
        """
        if self.polls is not None:
            is_comparing = self.verification.is_in_doubt
            self.verification.doubt(is_shorter=is_shorter)
            if not is_comparing:
                self.polls.start_over()

    def compare(self) -> None:
        """Compare the known data now, without the pause after a failure.

        It is called when a response on another connection shows that the origin can be reached.
        """
        if not self.verification.is_in_doubt:  # else each read would start it over
            self.doubt()
        if self.polls is not None:
            self.polls.hurry()

    def note_write(self, written: TailBound) -> None:
        """Note a write: the tail is unknown until the origin's poll reports it."""
        if self.feed.closed and not (written.closed and written.tail == self.feed.tail):
            self.end(StreamGone(ANOTHER_STREAM))  # nothing can be written after an end
            return
        self.state.note_write(written)

    # Results from the follower

    def on_answer(self, start: str, polled: PollResult) -> None:
        """Publish what the origin has after `start` to the owner and the feed."""
        news = [Span(start, polled.end, polled.body)] if polled.end != start else []
        polls = self.polls
        sent_at, number = (0.0, BEFORE_ALL) if polls is None else (polls.sent_at, polls.number)
        snapshot = self.state.note_answer(polled, self._owner.evidence.clock(), sent_at, number)
        for span in news:
            self._window.append(span)
        if news:
            self.state.has_tail = True
            self._owner.evidence.lost.note(self.key, snapshot.tail)
        if news or snapshot.closed:
            self._owner.on_growth(self)
        self.feed.publish(
            self, snapshot.tail, news, closed=snapshot.closed, caught_up=snapshot.caught_up
        )

    def on_hold(self) -> None:
        """Note that the origin holds the poll, and so can be reached."""
        self.state.confirm(self._owner.evidence.clock())
        self.feed.lost = None
        if self.polls is not None:
            self.state.restore(self.polls.number)

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Note a failure, and unless `quietly` refuse the polls; SSE readers stay connected."""
        self.verification.doubt()
        self.state.doubt_tail()
        if not quietly:
            self.feed.suspend(reason)

    def end(self, reason: HeadgateError, *, is_expected: bool = False) -> None:
        """Disconnect all readers of a stream that is gone.

        It is logged, unless it `is_expected` as after a DELETE by a client.
        """
        self._owner.on_end(self, reason, is_expected=is_expected)
        self.feed.end(reason, self.verification.spares)

    def on_error(self, error: Exception) -> None:
        """End the stream, because an answer could not be used."""
        log.error("follower.failed", stream=self.path, exc_info=error)
        self.end(OriginBroken("the origin's answer to a long-poll could not be used"))

    def close(self) -> None:
        """Stop following the stream."""
        if self.closing is not None:
            self.closing.cancel()
        if self.polls is not None:
            self.polls.stop()
        self._window.close()
        self.verification.wake()
