"""One stream of an origin that is followed: its feed, its follower and its latest news."""

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
from gateway.edge.followed.follower import Follower
from gateway.edge.followed.following import Following
from gateway.edge.followed.lenders import Lenders
from gateway.edge.followed.poller import Poller
from gateway.edge.followed.recent_window import RecentWindow
from gateway.edge.followed.snapshots import (
    contradicts,
    is_coded,
    is_of_followed,
    said_of_data,
    with_directives,
)
from gateway.edge.followed.stand_ins import LastHeard
from gateway.edge.followed.trust import Trust
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
    from gateway.edge.followed.follower import Polled
    from gateway.edge.followed.registry import Registry
    from gateway.protocol.origins.repair import StreamRead

SAYS_S = 5.0  # it may change: lifetimes shrink towards the end of a stream

_versions = count()


class FollowedStream:
    """A followed stream; `confirmed` is True once a read or poll of the origin has shown its tail.

    `evidence` is of the data before its tail, if somebody has read them. Without `has_tail` the
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
        loop = asyncio.get_running_loop()
        self.lenders = Lenders(request)
        self.key, self.path = request.stream_key, request.path
        self.snapshot = snapshot._replace(number=next_number())
        self.confirmed = False
        self._is_told = snapshot.caught_up  # by a read of the tail, or since by a poll
        self._has_tail = has_tail
        self._written = Reach()  # through this gateway
        self._said_at = loop.time()  # when `snapshot.reads_say` was told
        self._heard_at = 0.0  # when the origin has told that it is so (epoch seconds)
        self._reads_vary = False
        self.is_only_compared = False  # nobody has asked for its news
        self.rests_until = 0.0  # as of a Variant, where its recent data have stood in
        self.closing: asyncio.TimerHandle | None = None
        self.resources = ExitStack()  # what it takes as long as the stream is followed
        self.feed: Feed[FollowedStream, Span] = Feed(
            self, snapshot.tail, registry.source, registry, closed=snapshot.closed
        )
        self.feed.caught_up = snapshot.caught_up
        self._registry = registry
        self.version = next(_versions)  # of the answers with its news
        content_type = snapshot.content_type
        self._window = RecentWindow(content_type, snapshot.tail, registry.budget)
        self._window.evidence = evidence
        self._poller = Poller(
            registry.origin,
            self.lenders,
            content_type,
            self._window,
            registry.others(request),
            self._note_reads_say,
        )
        self._poller.on_settled = self._settled
        self._following: Following | None = None
        if not (snapshot.closed and snapshot.caught_up):  # else nothing can follow
            follower = Follower(snapshot.tail, self, random.random)
            self._following = Following(
                registry.origin.client, follower, self._poller, registry.holdings, self._lost
            )
            self._following.on_distrust = self.doubt
        self.trust = Trust(self._poller, self._window, self._following)

    @override
    def __repr__(self) -> str:
        health = self.feed.lost or "followed"
        return f"<FollowedStream {self.path} at {self.snapshot.tail}, {health}>"

    @property
    def request(self) -> CacheRequest:
        """What it is read with: the request of one reader, in the name of all."""
        return self.lenders.request

    # What is known of it

    @property
    def is_current(self) -> bool:
        """Whether the stream is known as it is right now, as far as anybody can."""
        feed = self.feed
        is_known = self.confirmed and not self._poller.is_in_doubt
        return is_known and feed.caught_up and feed.lost is None and not feed.closed

    @property
    def knows_now(self) -> bool:
        """Whether its tail is where a reader begins who asks for what is to come.

        The origin has told where it is, and is asked since for what follows: whatever came in
        between is on its way. What a read of the tail says has to be surer.
        """
        feed = self.feed
        is_known = self._is_told and self._has_tail and not self.trust.is_in_doubt
        return is_known and feed.caught_up and feed.lost is None and not feed.closed

    @property
    def has_tail(self) -> bool:
        """Whether the tail is more than an offset that the origin has echoed."""
        return self._has_tail or self._window.newest is not None

    def start_of(self, offset: str) -> str:
        """Where a reader begins: `now` is the tail, where that is known."""
        return self.feed.tail if offset == NOW and self.knows_now else offset

    def knows_tail(self, offset: str | None) -> bool:
        """Whether the stream is known to end at an offset, right now."""
        return self.feed.position == self.feed.tail == offset and self.is_current

    def reaches(self, offset: str) -> bool:
        """Whether a reader at an offset can be served without asking the origin first."""
        return not self.feed.closed and (
            offset in {self.feed.position, self.feed.tail} or self.since(offset) is not None
        )

    def may_wait(self, offset: str) -> bool:
        """Whether a poll from an offset is to wait in the feed: for news, or until it has its turn.

        Who is behind while others wait for what is there already comes after them.
        """
        feed = self.feed
        if feed.closed:
            return False
        if offset in {feed.position, feed.tail}:
            return True
        if self._poller.is_behind or offset == NOW:
            return False
        return feed.is_busy and feed.reaches(offset)

    def since(self, offset: str) -> Span | None:
        """The news after an offset as one span, where they are still at hand."""
        # They may be of a stream that is no more.
        return None if self._poller.is_behind else self._window.since(offset)

    def latest(self, start: str) -> Span | None:
        """The latest news, however long they are, for one who was told what is before them."""
        last = None if self._poller.is_behind else self._window.last
        return last if last is not None and last.start == start else None

    def in_place(self, request: CacheRequest) -> CachedResponse | None:
        """What may stand in for the origin's answer to a read, of what was told here."""
        span = self.since(request.start)
        # Of polls the origin may leave out that its answers vary.
        if span is None or (self._reads_vary and self.snapshot.reads_say is None):
            return None
        heard = LastHeard(self.snapshot, span, self.request, self._heard_at)
        return self._registry.stand_ins.of(heard, request)

    @property
    def knows_what_reads_say(self) -> bool:
        """Whether the origin has told lately for how long caches may keep a read of the tail."""
        age_s = asyncio.get_running_loop().time() - self._said_at
        return self.snapshot.reads_say is not None and age_s < SAYS_S

    def _note_reads_say(self, said: str) -> None:
        self._said_at = asyncio.get_running_loop().time()
        known = self.snapshot.reads_say
        # A poll tells of what holds at the tail alone, which may be what is known already.
        is_known = known and said == shortened_lines(known, self._registry.origin.freshness)
        if said != known and not is_known:
            self.snapshot = with_directives(
                self.snapshot, self.request, said, self.snapshot.polls_say
            )
            self.version = next(_versions)

    # What readers and writers show of it

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Compare with the origin before anything is joined, beginning anew with what is asked.

        `is_shorter` says that an answer has shown a stream that ends before what is known.
        """
        self.trust.doubt(is_shorter=is_shorter)
        self.version = next(_versions)

    def _settled(self) -> None:
        self.trust.settled()
        self._registry.compared(self)

    def has_now(self, tail: str) -> None:
        """Note the tail that the origin gives for `now`."""
        self._has_tail |= tail == self.snapshot.tail

    def compare_read(self, fetch: SharedFetch, facts: StreamRead, body: bytes | None) -> None:
        """Let go or doubt the stream if a read, of which `body` is all, shows another one."""
        if self._is_another(fetch, facts, body):
            self.end(StreamGone(ANOTHER_STREAM))
            if facts.next_offset != fetch.request.start:  # else it may only be echoed
                self._registry.seen(self, facts.next_offset)
        if facts.ends:
            self.ends_for(fetch, facts.next_offset)

    def ends_for(self, fetch: SharedFetch, end: str) -> None:
        """Doubt the stream if a read ends before the stream's known end."""
        if not fetch.outdated and end < self.known_end:
            self.doubt(is_shorter=True)

    @property
    def known_end(self) -> str:
        """The largest offset that the stream is known to reach."""
        return max(self.snapshot.tail, self._written.tail)

    def expect(self, written: Reach) -> None:
        """Something was written: the tail is not known before the origin's poll tells of it."""
        if self.feed.closed and not (written.closed and written.tail == self.feed.tail):
            self.end(StreamGone(ANOTHER_STREAM))  # nothing can be written after an end
            return
        self._written = self._written.together(written)
        if not self._written.is_told_by(self.snapshot.tail, closed=self.snapshot.closed):
            self._fall_behind()

    def _fall_behind(self) -> None:
        self.snapshot = self.snapshot._replace(caught_up=False)
        self.feed.is_behind()
        self.version = next(_versions)

    def ask_anew(self) -> None:
        """Ask the origin again where the stream ends: anything may have been written.

        A poll that is under way is cut, since its answer may be older than these writes.
        """
        if self.feed.closed or self._following is None:
            self.let_go(StreamGone(ANOTHER_STREAM))  # there may be another one
            return
        self._fall_behind()
        self.doubt()

    def _is_another(self, fetch: SharedFetch, facts: StreamRead, body: bytes | None) -> bool:
        """Whether an answer of the origin, its body if it is whole, is not of this stream."""
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
        """Whether a read, which perhaps `ends`, can be of this stream; else the stream is gone."""
        if not self._is_contradicted(snapshot, ends=ends):
            return True
        self.end(StreamGone(ANOTHER_STREAM))
        return False

    def _is_contradicted(self, snapshot: Snapshot, *, ends: bool) -> bool:
        feed = self.feed
        known = self.snapshot._replace(tail=feed.tail, closed=feed.closed)
        return contradicts(known, snapshot, ends=ends)

    def read_by_somebody(self, span: Span, result: CacheResult) -> None:
        """A reader has come from one offset to another, and was told who may keep what is there."""
        cached, facts = result.cached, result.cached.facts
        if facts is None:
            return
        if not is_of_followed(cached, self.request):
            self._reads_vary = True
            return
        if facts.up_to_date and span.end < self.snapshot.tail:
            return  # the whole of a shorter stream: old, or of another one
        if not followed.is_of_type(facts.content_type, self.snapshot.content_type):
            return
        is_sure = not self._poller.is_in_doubt  # else it may be of another stream
        if is_sure and result.current and result.source is None:
            self._learn(span, cached, facts)
        if span.end == self.snapshot.tail and not facts.is_empty and result.tail_is_known:
            self._note_reads_say(said_of_data(cached))  # of older parts it may be something else

    def _learn(self, span: Span, cached: CachedResponse, facts: StreamRead) -> None:
        """Take note of what the origin has just told a reader, and where the stream is then.

        The poll may hang, or ask a server that lags: until it tells as much, nobody is told that
        he is up to date without it.
        """
        if not (facts.is_empty or is_coded(cached)):
            self._window.learn(*span)
        if facts.up_to_date and span.end == self.snapshot.tail:
            self._heard_at = self._registry.clock()
        if self.feed.closed:
            return  # it was compared with the end as the answer came
        # Any offset past the tail may be echoed to who asks for it, as if he were up to date.
        is_echoed = facts.is_empty and span.start != NOW
        if not is_echoed or span.end == self.snapshot.tail:
            self.expect(Reach(span.end, facts.closed and facts.up_to_date))

    # What its follower is told

    def answered(self, start: str, polled: Polled) -> None:
        """The origin has answered: let the registry and the feed know what follows `start`."""
        news = [Span(start, polled.end, polled.body)] if polled.end != start else []
        polls_say = self.snapshot.polls_say if polled.said is None else polled.said
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
        self._heard_at = self._registry.clock()
        if news:
            self._has_tail = True
            self._registry.seen(self, snapshot.tail)
        if news or snapshot.closed:
            self._registry.moved(self)
        self.confirmed = self._is_told = True
        self.feed.publish(
            self, snapshot.tail, news, closed=snapshot.closed, caught_up=snapshot.caught_up
        )

    def holds(self) -> None:
        """The origin has taken the poll."""
        self._heard_at = self._registry.clock()
        self.confirmed = self._is_told = True
        self.feed.lost = None

    def failed(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Tell the polls; SSE readers wait for better times."""
        self._poller.doubt()
        self.confirmed = self._is_told = False
        if not quietly:
            self.feed.lose(reason)

    def end(self, reason: HeadgateError) -> None:
        """The stream is gone: let everybody go."""
        self._registry.lost(self, reason)
        self.let_go(reason)

    def let_go(self, reason: HeadgateError) -> None:
        """The stream was deleted here: let everybody go. The operator need not be told."""
        if isinstance(reason, StreamGone | StreamNotFound):
            self._registry.lose(self, *self._poller.lost)
        self._registry.ended(self)
        self.feed.end(reason, self._poller.spares)

    def _lost(self, error: Exception) -> None:
        log.error("follower.failed", stream=self.path, exc_info=error)
        self.end(OriginBroken("the origin's answer to a long-poll could not be used"))

    def close(self) -> None:
        """Follow the stream no more."""
        if self.closing is not None:
            self.closing.cancel()
        if self._following is not None:
            self._following.stop()
        self._window.close()
        self.trust.settled()
