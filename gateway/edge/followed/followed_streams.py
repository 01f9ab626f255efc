"""The followed streams of a route: one feed and one long-poll a stream serve all its readers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from gateway.cache.fetches.fetch import REST_S
from gateway.cache.fetches.fetched import STOOD_IN, Fetched
from gateway.cache.rules.hit_for_pass import HitForPass
from gateway.cache.rules.incarnations import Incarnations
from gateway.cache.rules.replica_lag import ANOTHER_STREAM, PERSISTS_S
from gateway.edge.followed.beginnings import Beginnings
from gateway.edge.followed.doubts import Doubts
from gateway.edge.followed.feed_source import EdgeFeedSource
from gateway.edge.followed.followed_stream import FollowedStream
from gateway.edge.followed.snapshots import as_read, is_variant
from gateway.edge.followed.stand_ins import StandIns
from gateway.edge.followed.stream_reader import StreamReader
from gateway.edge.polls.following import Holdings
from gateway.edge.polls.poller import UNSURE, PolledOrigin
from gateway.edge.polls.recent_window import WindowBudget
from gateway.errors import OriginBusy, StreamGone, StreamNotFound
from gateway.protocol.origins.followed import Snapshot, Span
from gateway.protocol.streams.reach import Reach
from gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gateway.cache.cache_result import CacheResult
    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.cache.rules.lost_offsets import StreamKey
    from gateway.edge.comparison import Evidence
    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedSettings
    from gateway.live.feed import Feed
    from gateway.origin.client import Origin
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.telemetry.traffic import Traffic

NEWS_BYTES = 256 << 20  # of all streams of a route together
COMPARED = "comparisons"  # the client that streams count for which are followed only to be compared
LINGER_S = 5.0  # a client is away between two polls, and comes back after a reload


class FollowedStreams:
    """The followed streams of a route, by their keys and by their paths."""

    def __init__(  # noqa: PLR0913 - what a route is made of
        self,
        origin: Origin,
        cache: HttpCache,
        settings: FeedSettings,
        shared: Context,
        traffic: Traffic,
        *,
        identity: IdentityHeaders,
        ignores_no_store: bool,
        freshness: Freshness,
    ) -> None:
        self.origin = PolledOrigin(origin, identity, ignores_no_store, freshness, Counter())
        self.budget = WindowBudget(NEWS_BYTES)
        self.holdings = Holdings()
        self.reader = StreamReader(cache)
        self.source = EdgeFeedSource(self.reader, freshness, settings, shared, traffic)
        cache.another = self.reader.forget
        cache.distrusted = self._distrust
        cache.is_of_now = self._is_of_now
        cache.is_down = origin.servers.are_down
        cache.fetches.in_place = self._in_place
        self.stand_ins = StandIns(cache.heads.rules, shared.clock)
        self._incarnations = Incarnations()
        self._beginnings = Beginnings()
        self.beginning = self._beginnings.reading
        self.doubts = Doubts(self.of_path, cache.heads.rules.lost, shared.clock, self._compare)
        cache.fetches.on_heard = self.doubts.comparison_before
        self.lose, self.seen, self.others = self.doubts.lose, self.doubts.seen, self.doubts.others
        cache.is_behind = self._is_behind
        self._apart = HitForPass(shared.clock)
        self.clock = shared.clock
        self._limits = shared.limits
        self._streams: dict[Hashable, FollowedStream] = {}
        self._of_path: dict[str, set[FollowedStream]] = {}
        self._none = asyncio.Event()
        self._none.set()
        self._draining = False
        self._losses = RareLine("origin.lost_stream")
        self._deleting: Counter[str] = Counter()  # DELETEs under way, by path

    @property
    def count(self) -> int:
        """The number of followed streams."""
        return len(self._streams)

    def peek(self, key: StreamKey, offset: str) -> FollowedStream | None:
        """Return the followed stream, unless the offset may be of an earlier stream."""
        stream = self._streams.get(key)
        return None if stream is None or not self.doubts.is_of(stream, offset) else stream

    def read_by(self, request: CacheRequest) -> FollowedStream | None:
        """Return the followed stream that a request reads, or None."""
        return self.peek(request.stream_key, request.start) if self._streams else None

    def paths(self) -> list[str]:
        """Return the paths of all followed streams."""
        return list(self._of_path)

    def of_path(self, path: str) -> list[FollowedStream]:
        """Return the followed streams at a path: some readers may have one of their own."""
        return list(self._of_path.get(path, ()))

    def verified(self, key: Hashable, snapshot: Snapshot, *, ends: bool) -> FollowedStream | None:
        """Return the followed stream; None if a read, which perhaps `ends`, shows it to be gone."""
        stream = self._streams.get(key)
        return stream if stream is not None and stream.verify(snapshot, ends=ends) else None

    def fitting(self, request: CacheRequest) -> CacheRequest:
        """Return a reader's request, under its own key if the origin has other data for each."""
        if request.admitted_as and request.stream_key in self._apart:
            return request.apart()
        return request

    def own_request(self, request: CacheRequest, result: CacheResult) -> CacheRequest:
        """Return the request, under its own key if the response was for its reader alone."""
        if not request.admitted_as or result.cached.facts is None or not result.cached.is_ones_own:
            return request
        self._apart.add(request.stream_key)
        return request.apart()

    def follow(
        self, request: CacheRequest, snapshot: Snapshot, client: str, *, has_tail: bool = True
    ) -> FollowedStream:
        """Follow a stream from the end of a read, within the limits of a client.

        Without `has_tail` the origin has only echoed the offset of the read. Raises StreamGone if
        that offset is lost.
        """
        key = request.stream_key
        if not has_tail and self.doubts.refuses(key, snapshot.tail):
            raise StreamGone(ANOTHER_STREAM)
        stream = self.verified(key, snapshot, ends=True)
        is_shorter = stream is not None and snapshot.tail < stream.snapshot.tail
        if stream is not None and stream.trust.is_in_doubt and is_shorter and snapshot.caught_up:
            stream = self._set_aside(stream)
        if stream is not None:
            stream.lenders.add(request)
            stream.is_only_compared = False
            if has_tail:
                stream.note_tail(snapshot.tail)
        else:
            with ExitStack() as resources:
                resources.enter_context(self._limits.feed(client))
                evidence = self.doubts.newest_reads.up_to(key, snapshot.tail)
                stream = FollowedStream(request, snapshot, self, evidence, has_tail=has_tail)
                resources.callback(stream.close)
                self._linger(stream)
                # Nothing in between may raise: the stream is in both tables, or in neither.
                self._streams[stream.key] = stream
                self._of_path.setdefault(stream.path, set()).add(stream)
                self._none.clear()
                stream.resources = resources.pop_all()
            if has_tail:
                self.seen(stream, snapshot.tail)
            written = self._beginnings.since(stream.path)
            if written is not None and not snapshot.closed:
                stream.note_write(written)
            self.doubts.compare_new(stream, self.origin.client.incarnation)
        return stream

    def _compare(self, request: CacheRequest, read: Evidence) -> FollowedStream:
        """Follow a stream from where a read ended, until it has been compared with the origin's."""
        plain = self.fitting(request.plain(self.origin.identity))
        tail = Snapshot(plain.path, read.content_type, read.end, closed=False, caught_up=False)
        self.doubts.newest_reads.add(plain.stream_key, read)
        stream = self.follow(plain, tail, COMPARED, has_tail=False)
        stream.is_only_compared = True
        stream.doubt()
        self._linger(stream)
        return stream

    def poll_response(
        self,
        request: CacheRequest,
        read: LongPoll,
        snapshot: Snapshot,
        result: CacheResult,
        position: str,
        client: str,
    ) -> Response | None:
        """Return the response to a poll that has read from the origin; None if it has to wait."""
        facts = result.cached.facts
        if facts is None or facts.is_empty:
            return self.source.ended(snapshot, read, snapshot.tail) if snapshot.closed else None
        span = Span(position, snapshot.tail, result.cached.body)
        stream = self.read_by(request)
        if snapshot.caught_up and not snapshot.closed and self._limits.may_follow(client):
            # The client will be back at the next offset, and in a crowd some always come too late
            # for the tail: so the stream is followed from now on.
            stream = self.follow(request, snapshot, client)
        if stream is not None:
            stream.note_read(span, result)
        return self.source.data(as_read(snapshot, result, facts), read, span)

    def join(
        self, stream: FollowedStream, request: CacheRequest | None = None
    ) -> Feed[FollowedStream, Span]:
        """Return the feed for one more reader and its request; raise at the limit of readers."""
        if request is not None:
            stream.lenders.add(request)
        self._limits.reader_joins()
        if stream.closing is not None:
            stream.closing.cancel()
            stream.closing = None
        return stream.feed

    def written(self, path: str, reach: Reach) -> None:
        """Note a write through this gateway: feeds do not know the tail until a poll reports it."""
        for stream in self.of_path(path):
            stream.note_write(reach)
        self._beginnings.written(path, reach)

    @contextmanager
    def deleting(self, path: str) -> Iterator[None]:
        """Note that a DELETE is at the origin, which may refuse a poll before it answers."""
        self._deleting[path] += 1
        try:
            yield
        finally:
            self._deleting -= Counter([path])

    def deleted(self, path: str, *, for_all: bool) -> None:
        """End the feeds of a stream that was deleted through this gateway.

        If it is not gone `for_all`, clients with an identity may see another stream there.
        """
        for stream in tuple(self._of_path.get(path, ())):
            if for_all or not stream.request.identity:
                stream.let_go(StreamNotFound("the stream was deleted"))
        self.doubts.deleted(path, for_all=for_all)
        self._beginnings.deleted(path)

    def ask_all_anew(self) -> None:
        """Ask anew where each stream ends, since writes were missed."""
        for stream in tuple(self._streams.values()):
            stream.ask_anew()

    def _set_aside(self, stream: FollowedStream) -> FollowedStream | None:
        """Make room for a feed of new readers beside the one in doubt; at most one such feed."""
        others = self._of_path[stream.path]
        if any(one.key == stream.key and one is not stream for one in others):
            return stream
        del self._streams[stream.key]
        if not stream.feed.has_readers:
            self._linger(stream)  # what it had is compared, for readers who come back
        return None

    def _is_behind(self, fetch: SharedFetch, end: str) -> None:
        """Doubt a stream if a read of it ends before the stream's known end."""
        if (stream := self._streams.get(fetch.request.stream_key)) is not None:
            stream.note_end(fetch, end)

    def is_tail(self, key: Hashable, offset: str) -> bool:
        """Return whether a stream is followed and known to end at an offset."""
        return (stream := self._streams.get(key)) is not None and stream.knows_tail(offset)

    def _in_place(self, request: CacheRequest) -> CachedResponse | None:
        """Return what may stand in for a response that the origin has just failed to send."""
        if (stream := self.read_by(request)) is None or (found := stream.in_place(request)) is None:
            return None
        stream.rests_until = self.clock() + REST_S
        return found

    def _is_of_now(self, fetch: SharedFetch, fetched: Fetched | None) -> bool:
        """Return whether a read has found the stream that is there, and not one before it."""
        is_of_now = self._judge(fetch, fetched)
        self.doubts.note(fetch, fetched, is_of_now=is_of_now)
        return is_of_now

    def _judge(self, fetch: SharedFetch, fetched: Fetched | None) -> bool:
        """Judge a read, and drop what it shows to be outdated: a followed stream, or responses."""
        request, cached = fetch.request, fetch.begun.result() if fetched is None else fetched.cached
        if fetch.of_the_past or (fetched is not None and fetched.how is STOOD_IN):
            return True
        stream = self._streams.get(key := request.stream_key)
        if cached.status == 404 and stream is not None and not request.admitted_as:
            stream.end(StreamNotFound("the stream was deleted"))
        if cached.facts is None or (cached.stored.vary and is_variant(cached)):
            return True
        is_another = self._incarnations.is_another(key, cached.facts.content_type, fetch.number)
        if is_another is None:
            return False
        body = None if fetched is None else cached.body
        if stream is not None:
            stream.compare_read(fetch, cached.facts, body)
        if is_another:
            self.reader.forget(request.path)
        return True

    def _distrust(self, path: str) -> None:
        """Drop everything rendered of a path, because an answer may have been another request's."""
        self.reader.distrust(path)
        for stream in self.of_path(path):
            stream.doubt()

    def moved(self, stream: FollowedStream) -> None:
        """Drop cached responses that reached the stream's old tail."""
        known = stream.snapshot
        self.reader.moved(stream.path, Reach(known.tail, known.closed))

    def compared(self, stream: FollowedStream) -> None:
        """Release a stream that was followed only to be compared, or beside another feed."""
        if self._streams.get(stream.key) is not stream:
            self._rest(stream)
            stream.feed.end(OriginBusy(UNSURE), lambda _: True)  # its readers join that feed
        elif stream.is_only_compared and not stream.feed.has_readers:
            self._rest(stream)

    def lost(self, stream: FollowedStream, reason: HeadgateError) -> None:
        """Log the loss of a stream that has readers: a restarted origin may have lost it."""
        is_lost = isinstance(reason, StreamGone | StreamNotFound)
        is_read = stream.feed.has_readers and self._streams.get(stream.key) is stream
        if is_lost and is_read and stream.path not in self._deleting:
            self._losses.note(reason=reason.detail, path=stream.path)

    def ended(self, stream: FollowedStream) -> None:
        """Remove a stream that is gone, and drop what is cached of it."""
        if stream.lenders.are_apart:
            self._apart.add(stream.key)
        self._unfollow(stream)
        self.reader.forget(stream.path)

    def reader_left(self) -> None:
        """Count one live reader less."""
        self._limits.reader_left()

    def feed_empty(self, feed: Feed[FollowedStream, Span]) -> None:
        """Follow a stream without readers a little longer, unless the server stops."""
        stream = feed.stream
        if self._draining or feed.closed:
            self._rest(stream)
        elif stream in self._of_path.get(stream.path, ()):
            self._linger(stream)

    def _linger(self, stream: FollowedStream) -> None:
        """Follow a stream a little longer; one in doubt until a replica's lag would be over."""
        if stream.closing is not None:
            stream.closing.cancel()
        for_s = LINGER_S + (PERSISTS_S if stream.trust.is_in_doubt else 0)
        stream.closing = asyncio.get_running_loop().call_later(for_s, self._rest, stream)

    def _rest(self, stream: FollowedStream) -> None:
        """Stop following a stream, and keep evidence of its data: it may still exist."""
        if stream in self._of_path.get(stream.path, ()):
            self.doubts.rest(stream)
            self._unfollow(stream)

    def _unfollow(self, stream: FollowedStream) -> None:
        if self._streams.get(stream.key) is stream:
            del self._streams[stream.key]
        self._end(stream)

    def _end(self, stream: FollowedStream) -> None:
        """Stop following a stream, which may have been set aside before."""
        others = self._of_path.get(stream.path, set())
        if stream not in others:
            return
        others.discard(stream)
        if not others:
            del self._of_path[stream.path]
        stream.resources.close()
        if not self._of_path:
            self.source.clear()
            self._none.set()

    async def drain(self) -> None:
        """Disconnect every live reader, and wait until no stream is followed."""
        self._draining = True
        for stream in [stream for path in self.paths() for stream in self.of_path(path)]:
            if stream.feed.has_readers:
                stream.feed.drain()
            else:
                self._unfollow(stream)
        await self._none.wait()

    def close(self) -> None:
        """Stop following all streams at once, whether or not they have readers."""
        for stream in [stream for path in self.paths() for stream in self.of_path(path)]:
            self._unfollow(stream)
        self._losses.close()
