"""A stream that is followed at its origin, with its feed, its follower and its latest news."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.cache.order import next_number
from gateway.cache.rules.replica_lag import ANOTHER_STREAM
from gateway.cache.rules.tails import shortened_lines
from gateway.edge.followed.snapshots import (
    contradicts,
    data_directives,
    is_coded,
    is_of_followed,
    with_directives,
)
from gateway.edge.followed.stand_ins import RecentData
from gateway.edge.followed.trust import Trust
from gateway.edge.polls.follower import Follower
from gateway.edge.polls.following import Following
from gateway.edge.polls.lenders import Lenders
from gateway.edge.polls.poller import Poller
from gateway.edge.polls.recent_window import RecentWindow
from gateway.errors import HeadgateError, OriginBroken, StreamGone, StreamNotFound
from gateway.live.feed import Feed
from gateway.protocol.origins import followed
from gateway.protocol.origins.followed import Snapshot, Span
from gateway.protocol.streams.offsets import NOW
from gateway.protocol.streams.reach import Reach
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.cache.cache_result import CacheResult
    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.comparison import Evidence
    from gateway.edge.followed.registry import Registry
    from gateway.edge.polls.follower import Polled
    from gateway.protocol.origins.repair import StreamRead

DIRECTIVES_S = 5.0  # that directives count as recent: lifetimes shrink towards a stream's end

_versions = count()


class FollowedStream:
    """A stream that is followed at its origin for its live readers.

    `confirmed` is True once a read or poll of the origin has shown its tail. `evidence` is of the
    data before its tail, if a client has read them. Without `has_tail` the origin has only echoed
    the tail to a client that asked from there.
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
        loop = asyncio.get_running_loop()
        self.lenders = Lenders(request)
        self.key, self.path = request.stream_key, request.path
        self.snapshot = snapshot._replace(number=next_number())
        self.confirmed = False
        self._is_tail_known = snapshot.caught_up  # the tail, by a read of it or a later poll
        self._has_tail = has_tail
        self._written = Reach()  # by writes through this gateway
        self._directives_at = loop.time()  # loop time of `snapshot.reads_say`
        self._confirmed_at = 0.0  # when the origin last confirmed it (epoch seconds)
        self._reads_vary = False
        self.is_only_compared = False  # no client has asked for its news
        self.rests_until = 0.0  # as in Variant, once its recent data have stood in
        self.closing: asyncio.TimerHandle | None = None
        self.resources = ExitStack()  # released with the stream
        self.feed: Feed[FollowedStream, Span] = Feed(
            self, snapshot.tail, registry.source, registry, closed=snapshot.closed
        )
        self.feed.caught_up = snapshot.caught_up
        self._registry = registry
        self.version = next(_versions)  # of the responses with its news
        content_type = snapshot.content_type
        self._window = RecentWindow(content_type, snapshot.tail, registry.budget)
        self._window.evidence = evidence
        poller = Poller(
            registry.origin,
            self.lenders,
            content_type,
            self._window,
            registry.doubts.others(request),
            self._note_directives,
        )
        self._verification = poller.verification
        self._verification.on_settled = self._settled
        self._following: Following | None = None
        if not (snapshot.closed and snapshot.caught_up):  # else nothing can follow
            follower = Follower(snapshot.tail, self, random.random)
            self._following = Following(
                registry.origin.client, follower, poller, registry.holdings, self._on_error
            )
            self._following.on_distrust = self.doubt
        self.trust = Trust(self._verification, self._window, self._following)

    @override
    def __repr__(self) -> str:
        health = self.feed.lost or "followed"
        return f"<FollowedStream {self.path} at {self.snapshot.tail}, {health}>"

    @property
    def request(self) -> CacheRequest:
        """The request that the stream is read with: one reader's, on behalf of all."""
        return self.lenders.request

    # State

    @property
    def is_current(self) -> bool:
        """True if the stream's known state is the origin's present one, as far as can be told."""
        feed = self.feed
        is_known = self.confirmed and not self._verification.is_in_doubt
        return is_known and feed.caught_up and feed.lost is None and not feed.closed

    @property
    def knows_now(self) -> bool:
        """True if a reader that asks for offset `now` begins at the feed's tail.

        The origin has shown the tail, and is polled since then: data that came in between are on
        their way. A read of the tail needs more certainty, as `is_current` has it.
        """
        feed = self.feed
        is_known = self._is_tail_known and self._has_tail and not self.trust.is_in_doubt
        return is_known and feed.caught_up and feed.lost is None and not feed.closed

    @property
    def has_tail(self) -> bool:
        """True unless the tail is only an offset that the origin has echoed."""
        return self._has_tail or self._window.newest is not None

    def start_of(self, offset: str) -> str:
        """Return the offset where a read begins: the tail for `now`, if that is known."""
        return self.feed.tail if offset == NOW and self.knows_now else offset

    def knows_tail(self, offset: str | None) -> bool:
        """Return whether the stream is known to end at an offset right now."""
        return self.feed.position == self.feed.tail == offset and self.is_current

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
        if self._verification.is_behind or offset == NOW:
            return False
        return feed.long_polls.has_turns and feed.long_polls.reaches(offset)

    def since(self, offset: str) -> Span | None:
        """Return the news after an offset as one span, or None if they are not in memory."""
        # Known news may be of a stream that is gone.
        return None if self._verification.is_behind else self._window.since(offset)

    def latest(self, start: str) -> Span | None:
        """Return the latest news if they begin at `start`, however long they are, or None."""
        last = None if self._verification.is_behind else self._window.last
        return last if last is not None and last.start == start else None

    def in_place(self, request: CacheRequest) -> CachedResponse | None:
        """Return a response made of recent news that may stand in for the origin's, or None."""
        span = self.since(request.start)
        # In responses to polls the origin may leave out Vary.
        if span is None or (self._reads_vary and self.snapshot.reads_say is None):
            return None
        recent = RecentData(self.snapshot, span, self.request, self._confirmed_at)
        return self._registry.stand_ins.of(recent, request)

    @property
    def has_recent_directives(self) -> bool:
        """True if the origin's cache directives for a read of the tail are known and recent."""
        age_s = asyncio.get_running_loop().time() - self._directives_at
        return self.snapshot.reads_say is not None and age_s < DIRECTIVES_S

    def _note_directives(self, said: str) -> None:
        self._directives_at = asyncio.get_running_loop().time()
        known = self.snapshot.reads_say
        # A poll's directives hold only at the tail, where the known ones may amount to the same.
        is_known = known and said == shortened_lines(known, self._registry.origin.freshness)
        if said != known and not is_known:
            self.snapshot = with_directives(
                self.snapshot, self.request, said, self.snapshot.polls_say
            )
            self.version = next(_versions)

    # Reads and writes of clients

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Let known data be compared before more are joined, and repeat the request under way.

        `is_shorter` is True if an answer has shown a stream that ends before the known end.
        """
        self.trust.doubt(is_shorter=is_shorter)
        self.version = next(_versions)

    def _settled(self) -> None:
        self.trust.settled()
        self._registry.compared(self)

    def note_tail(self, tail: str) -> None:
        """Note the tail that the origin has returned for `now`."""
        self._has_tail |= tail == self.snapshot.tail

    def compare_read(self, fetch: SharedFetch, facts: StreamRead, body: bytes | None) -> None:
        """End or doubt the stream if a read, whose whole body is `body`, shows another one."""
        if self._is_another(fetch, facts, body):
            self.end(StreamGone(ANOTHER_STREAM))
            if facts.next_offset != fetch.request.start:  # else the origin may only have echoed it
                self._registry.doubts.seen(self, facts.next_offset)
        if facts.ends:
            self.note_end(fetch, facts.next_offset)

    def note_end(self, fetch: SharedFetch, end: str) -> None:
        """Doubt the stream if a read ends before the stream's known end."""
        if not fetch.outdated and end < self.known_end:
            self.doubt(is_shorter=True)

    @property
    def known_end(self) -> str:
        """The largest offset that the stream is known to reach."""
        return max(self.snapshot.tail, self._written.tail)

    def note_write(self, written: Reach) -> None:
        """Note a write: the tail is unknown until the origin's poll reports it."""
        if self.feed.closed and not (written.closed and written.tail == self.feed.tail):
            self.end(StreamGone(ANOTHER_STREAM))  # nothing can be written after an end
            return
        self._written = self._written.together(written)
        if not self._written.is_told_by(self.snapshot.tail, closed=self.snapshot.closed):
            self._fall_behind()

    def _fall_behind(self) -> None:
        self.snapshot = self.snapshot._replace(caught_up=False)
        self.feed.mark_behind()
        self.version = next(_versions)

    def ask_anew(self) -> None:
        """Ask the origin again where the stream ends: anything may have been written.

        A poll that is under way is cut, since its answer may be older than these writes.
        """
        if self.feed.closed or self._following is None:
            self.let_go(StreamGone(ANOTHER_STREAM))  # another stream may be there
            return
        self._fall_behind()
        self.doubt()

    def _is_another(self, fetch: SharedFetch, facts: StreamRead, body: bytes | None) -> bool:
        """Return whether an answer, with its `body` if that is whole, is of another stream."""
        snapshot = self.snapshot._replace(
            content_type=facts.content_type,
            tail=facts.next_offset,
            closed=facts.closed and facts.up_to_date,
            number=fetch.number,
        )
        if self._is_contradicted(snapshot, ends=facts.up_to_date or facts.is_empty):
            return True
        if body is None or facts.is_coded or fetch.request.start == NOW:
            return False
        return self._window.contradicts(fetch.request.start, facts.next_offset, body)

    def verify(self, snapshot: Snapshot, *, ends: bool) -> bool:
        """Return whether a read, which perhaps `ends`, can be of this stream; if not, end it."""
        if not self._is_contradicted(snapshot, ends=ends):
            return True
        self.end(StreamGone(ANOTHER_STREAM))
        return False

    def _is_contradicted(self, snapshot: Snapshot, *, ends: bool) -> bool:
        feed = self.feed
        known = self.snapshot._replace(tail=feed.tail, closed=feed.closed)
        return contradicts(known, snapshot, ends=ends)

    def note_read(self, span: Span, result: CacheResult) -> None:
        """Note the data of a client's read, and the origin's cache directives for them."""
        cached, facts = result.cached, result.cached.facts
        if facts is None:
            return
        if not is_of_followed(cached, self.request):
            self._reads_vary = True
            return
        if facts.up_to_date and span.end < self.snapshot.tail:
            return  # the end of a shorter stream: an older state, or another stream
        if not followed.is_of_type(facts.content_type, self.snapshot.content_type):
            return
        is_sure = not self._verification.is_in_doubt  # else it may be of another stream
        if is_sure and result.current and result.source is None:
            self._learn(span, cached, facts)
        if span.end == self.snapshot.tail and not facts.is_empty and result.tail_is_known:
            self._note_directives(data_directives(cached))  # directives of older parts may differ

    def _learn(self, span: Span, cached: CachedResponse, facts: StreamRead) -> None:
        """Note the data that the origin has just sent a reader, and the tail that they show.

        The poll may hang, or be at a server that lags. Until it reports as much, no reader is told
        that it is up to date.
        """
        if not (facts.is_empty or is_coded(cached)):
            self._window.learn(*span)
        if facts.up_to_date and span.end == self.snapshot.tail:
            self._confirmed_at = self._registry.clock()
        if self.feed.closed:
            return  # the answer was compared with the end when it came
        # A server may echo any offset past the tail, as if its reader were up to date.
        is_echoed = facts.is_empty and span.start != NOW
        if not is_echoed or span.end == self.snapshot.tail:
            self.note_write(Reach(span.end, facts.closed and facts.up_to_date))

    # Results from the follower

    def on_answer(self, start: str, polled: Polled) -> None:
        """Publish what the origin has after `start` to the registry and the feed."""
        news = [Span(start, polled.end, polled.body)] if polled.end != start else []
        polls_say = self.snapshot.polls_say if polled.directives is None else polled.directives
        closed = polled.closed and polled.caught_up
        known = with_directives(self.snapshot, self.request, self.snapshot.reads_say, polls_say)
        self.snapshot = snapshot = known._replace(
            tail=polled.end,
            closed=closed,
            caught_up=polled.caught_up and self._written.is_told_by(polled.end, closed=closed),
            cors=polled.cors,
            number=next_number(),
        )
        for span in news:
            self._window.append(span)
        self.version = next(_versions)
        self._confirmed_at = self._registry.clock()
        if news:
            self._has_tail = True
            self._registry.doubts.seen(self, snapshot.tail)
        if news or snapshot.closed:
            self._registry.moved(self)
        self.confirmed = self._is_tail_known = True
        self.feed.publish(
            self, snapshot.tail, news, closed=snapshot.closed, caught_up=snapshot.caught_up
        )

    def on_hold(self) -> None:
        """Note that the origin holds the poll, and so can be reached."""
        self._confirmed_at = self._registry.clock()
        self.confirmed = self._is_tail_known = True
        self.feed.lost = None

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Note a failure, and unless `quietly` refuse the polls; SSE readers stay connected."""
        self._verification.doubt()
        self.confirmed = self._is_tail_known = False
        if not quietly:
            self.feed.suspend(reason)

    def end(self, reason: HeadgateError) -> None:
        """Disconnect all readers of a stream that is gone, and tell the operator."""
        self._registry.lost(self, reason)
        self.let_go(reason)

    def let_go(self, reason: HeadgateError) -> None:
        """Disconnect all readers without telling the operator, as after a DELETE by a client."""
        if isinstance(reason, StreamGone | StreamNotFound):
            self._registry.doubts.lose(self, *self._verification.lost)
        self._registry.ended(self)
        self.feed.end(reason, self._verification.spares)

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
        self.trust.settled()
