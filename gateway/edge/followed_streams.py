"""The live readers of an origin's streams: one feed and one long-poll a stream, for all of them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gateway.cache import tails
from gateway.cache.fetch import How
from gateway.cache.incarnations import Incarnations
from gateway.cache.replica_lag import ANOTHER_STREAM
from gateway.cache.single_flight import SingleFlight
from gateway.edge.events import EdgeEvents, are_long
from gateway.edge.followed_stream import LONGEST_READ, FollowedStream, refuse, stream_key
from gateway.edge.follower import Ended
from gateway.edge.snapshots import is_coded, is_variant, snapshot_of
from gateway.edge.window_budget import WindowBudget
from gateway.errors import HeadgateError, OriginBroken, StreamGone, StreamNotFound
from gateway.protocol import followed
from gateway.protocol.followed import Snapshot, Span
from gateway.protocol.header_names import NEXT_OFFSET
from gateway.protocol.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gateway.cache.fetch import Fetched, SharedFetch
    from gateway.cache.http_cache import CacheResult, HttpCache
    from gateway.edge.place import Place
    from gateway.live.contract import Cut, FeedSettings, Parked
    from gateway.live.feed import Feed
    from gateway.origin.client import Origin
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.edge_target import EdgeLongPoll
    from gateway.protocol.repair import StreamRead
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context

MAX_RENDERED = 1024  # at most 64 MB; readers come in few groups, and news make them old
LONGEST_RENDERED = 64 << 10
NEWS_BYTES = 256 << 20  # of all streams of a route together
LINGER_S = 5.0  # a poller is away between two polls, and a viewer who reloads comes back


class FollowedStreams:
    """The followed streams of a route, and what their feeds need: the Host of them all."""

    def __init__(
        self,
        origin: Origin,
        cache: HttpCache,
        settings: FeedSettings,
        shared: Context,
        *,
        ignores_no_store: bool,
        freshness: Freshness,
    ) -> None:
        self.origin = origin
        self.ignores_no_store = ignores_no_store
        self.freshness = freshness
        self.settings = settings
        self.clock: Callable[[], float] = shared.clock
        self._cache = cache
        cache.another = self.forget
        cache.is_of_now = self._is_of_now
        self._incarnations = Incarnations()
        self._shared = shared
        self.budget = WindowBudget(NEWS_BYTES)
        self._streams: dict[Hashable, FollowedStream] = {}
        self._of_path: dict[str, set[FollowedStream]] = {}
        self._rendered: dict[tuple[int, str, int | None, int], bytes] = {}
        self._events = EdgeEvents(self)
        self._tails: SingleFlight[Snapshot] = SingleFlight()
        self.forgotten = 0  # times: what was asked for before the last one may be of the past
        self._none = asyncio.Event()
        self._none.set()
        self._draining = False

    def peek(self, key: Hashable) -> FollowedStream | None:
        """The followed stream, if it is."""
        return self._streams.get(key)

    def standing(self, key: Hashable, snapshot: Snapshot, *, ends: bool) -> FollowedStream | None:
        """The followed stream, unless a read, which perhaps `ends`, shows that it is no more."""
        stream = self._streams.get(key)
        if stream is None or not stream.is_contradicted(snapshot, ends=ends):
            return stream
        stream.over(StreamGone(ANOTHER_STREAM))
        return None

    def stream(self, place: Place, snapshot: Snapshot) -> FollowedStream:
        """The stream, followed from where a read ends; raises at the bound of feeds."""
        stream = self.standing(place.key, snapshot, ends=True)
        if stream is None:
            path = place.read.path
            with ExitStack() as resources:
                resources.enter_context(self._shared.limits.feed())
                stream = FollowedStream(place, snapshot, self)
                resources.callback(stream.end)
                self._linger(stream)
                # Nothing in between may raise: it is in both, or in neither.
                self._streams[place.key] = stream
                self._of_path.setdefault(path, set()).add(stream)
                self._none.clear()
                stream.resources = resources.pop_all()
        return stream

    def found(
        self, place: Place, read: LongPoll, snapshot: Snapshot, result: CacheResult, position: str
    ) -> Response | None:
        """The answer for a poll that has read from the origin; None when it has to wait."""
        now = self.clock()
        facts = result.cached.facts
        if facts is None or facts.is_empty:
            ended = followed.poll_ended(snapshot, read, snapshot.tail, now)
            return ended if snapshot.closed else None
        span = Span(position, snapshot.tail, result.cached.body)
        limits = self._shared.limits
        if snapshot.caught_up and not snapshot.closed and limits.feeds < limits.max_feeds:
            # It will be back at the next offset, and in a herd some always come too late for the
            # tail: so the stream is followed from now on.
            self.stream(place, snapshot).read_by_somebody(span, result)
        return self._data(snapshot, read, span)

    def join(self, stream: FollowedStream) -> Feed[FollowedStream, Span]:
        """The feed, for one more reader; raises at the readers' limit."""
        self._shared.limits.reader_joins()
        if stream.closing is not None:
            stream.closing.cancel()
            stream.closing = None
        return stream.feed

    def written(self, path: str, next_offset: str, *, closed: bool) -> None:
        """A write through this gateway: until the feeds hear of it, they do not know the tail."""
        for stream in tuple(self._of_path.get(path, ())):
            stream.expect(next_offset, closed=closed)

    def deleted(self, path: str) -> None:
        """A stream was deleted through this gateway: nobody need wait for the origin to say so."""
        for stream in tuple(self._of_path.get(path, ())):
            stream.over(StreamNotFound("the stream was deleted"))

    def is_tail(self, key: Hashable, offset: str) -> bool:
        """Whether a stream is known to end at an offset, since it is followed."""
        stream = self._streams.get(key)
        return stream is not None and stream.knows_tail(offset)

    def _is_of_now(self, fetch: SharedFetch, fetched: Fetched | None) -> bool:
        """Whether a read has found the stream that is there, and not one before it.

        Where it shows that what is followed or kept is of another one, that is of the past.
        """
        request, cached = fetch.request, fetch.begun.result() if fetched is None else fetched.cached
        stood_in = fetched is not None and fetched.how is How.STOOD_IN
        if fetch.of_the_past or stood_in:
            return True
        key = stream_key(request.host, request.read, request.identity)
        stream = self._streams.get(key)
        if cached.status == 404 and stream is not None:
            stream.over(StreamNotFound("the stream was deleted"))
        if cached.facts is None or is_variant(cached):
            return True
        if self._incarnations.is_past(key, cached.facts.content_type, fetch.number):
            return False
        if stream is not None and stream.is_another(
            request.start, cached.facts, fetched and cached.body
        ):
            stream.over(StreamGone(ANOTHER_STREAM))
        if self._incarnations.is_another(key, cached.facts.content_type, fetch.number):
            self.forget(request.path)
        return True

    # Keeper

    def moved(self, stream: FollowedStream) -> None:
        """What is kept of the stream's old tail is old."""
        self._cache.moved(stream.place.read.path)

    def over(self, stream: FollowedStream) -> None:
        """What is kept of the stream is of the past."""
        self._forget(stream)
        self.forget(stream.place.read.path)

    def forget(self, path: str) -> None:
        """A write may have changed everything at a path, or the stream there is another one."""
        self.forgotten += 1
        self._cache.forget(path)
        self._events.drop(path)

    def feed_empty(self, feed: Feed[FollowedStream, Span]) -> None:
        """Nobody reads the feed any more: follow the stream a little longer."""
        stream = feed.stream
        if self._streams.get(stream.place.key) is not stream:
            return
        if self._draining or feed.closed:
            self._forget(stream)
        else:
            self._linger(stream)

    def _linger(self, stream: FollowedStream) -> None:
        loop = asyncio.get_running_loop()
        stream.closing = loop.call_later(LINGER_S, self._forget, stream)

    def _forget(self, stream: FollowedStream) -> None:
        if self._streams.get(stream.place.key) is not stream:
            return
        del self._streams[stream.place.key]
        path = stream.place.read.path
        others = self._of_path[path]
        others.discard(stream)
        if not others:
            del self._of_path[path]
        stream.resources.close()
        if not self._streams:
            self._rendered.clear()
            self._none.set()

    async def drain(self) -> None:
        """Let every live reader go, and wait until they have."""
        self._draining = True
        for stream in list(self._streams.values()):
            if stream.feed.has_readers:
                stream.feed.drain()
            else:
                self._forget(stream)
        await self._none.wait()

    def close(self) -> None:
        """Follow nothing any more, whoever waits."""
        for stream in list(self._streams.values()):
            self._forget(stream)

    # Host

    def reader_left(self) -> None:
        """One live reader fewer."""
        self._shared.limits.reader_left()

    def poll_data(
        self, stream: FollowedStream, parked: Parked, news: Sequence[Span]
    ) -> tuple[Response, bytes] | None:
        """The news after the waiter's offset."""
        response = self.news(stream, parked.read, parked.position)
        if response is None and news and news[0].start == parked.position:  # too long to be kept
            if are_long(news):
                news = news[:1]  # it comes back for the others
            span = followed.joined(stream.snapshot.content_type, news)
            response = self._data(stream.snapshot, parked.read, span)
        return None if response is None else self._shared.collapsed(response)

    def poll_ended(self, stream: FollowedStream, parked: Parked) -> tuple[Response, bytes] | None:
        """204, which says that there is nothing more; None where that is not known."""
        if not followed.is_end(stream.snapshot, parked.position):
            return None
        now = self.clock()
        return self._shared.collapsed(
            followed.poll_ended(stream.snapshot, parked.read, parked.position, now)
        )

    def refusal(self, reason: HeadgateError) -> tuple[Response, bytes]:
        """A problem."""
        return self._shared.collapsed(self._shared.problem(reason))

    async def out_of_time(self, stream: FollowedStream, read: LongPoll, position: str) -> Response:
        """The answer for a poll that has waited long enough."""
        lost = stream.feed.lost
        if lost is not None:
            return self._shared.problem(lost)
        if followed.is_end(stream.snapshot, position):
            return followed.poll_ended(stream.snapshot, read, position, self.clock())
        return await self._read_for(stream, read, position)

    def news(self, stream: FollowedStream, read: LongPoll, position: str) -> Response | None:
        """The answer for a poll that is a little behind."""
        span = stream.since(position)
        return None if span is None else self._data(stream.snapshot, read, span)

    def _data(self, snapshot: Snapshot, read: LongPoll, span: Span) -> Response:
        """200 for a poll; where others ask for its URL, too, no more is said than of the tail."""
        now = self.clock()
        if not followed.moves_on(read, now):
            said = snapshot.polls_say or snapshot.reads_say or ""
            short = tails.shortened_lines(said, self.freshness.tail_max_age)
            snapshot = snapshot._replace(polls_say=short)
        return followed.data(snapshot, read, span, now, self.freshness)

    def news_for(self, stream: FollowedStream, read: EdgeLongPoll) -> bytes | None:
        """The same as bytes, rendered once for all who ask it."""
        assert isinstance(read.offset, str), "polls name one"
        now = self.clock()
        key = (stream.version, read.offset, read.cursor, int(now))
        wire = self._rendered.get(key)
        if wire is None:
            response = self.news(stream, read, read.offset)
            if response is None:
                return None
            _, wire = self._shared.collapsed(response)
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            if len(wire) <= LONGEST_RENDERED:
                self._rendered[key] = wire
        return wire

    async def late_poll(
        self, stream: FollowedStream, parked: Parked
    ) -> tuple[Response, bytes] | None:
        """The answer for a waiter whose offset lies between those that the news have."""
        response = await self._read_for(stream, parked.read, parked.position)
        is_over = parked.deadline <= asyncio.get_running_loop().time()
        return self._shared.collapsed(response) if response.body or is_over else None

    async def _read_for(self, stream: FollowedStream, read: LongPoll, position: str) -> Response:
        """The answer for a poll, from the cache or the origin."""
        result, facts = await self.more(stream, position)
        known = snapshot_of(stream.place, position, result, facts)
        if facts.is_empty:
            known = known._replace(caught_up=True)
            return followed.poll_ended(known, read, facts.next_offset, self.clock())
        span = Span(position, facts.next_offset, result.cached.body)
        stream.read_by_somebody(span, result)
        return self._data(known, read, span)

    def cut(self, stream: FollowedStream, start: str, news: Sequence[Span]) -> list[Cut] | None:
        """News as one data event; None when they are too long for one turn."""
        return self._events.cut(stream, start, news)

    def cached_events(self, stream: FollowedStream, start: str) -> Cut | None:
        """What follows `start`, when it is at hand."""
        return self._events.at_hand(stream, start)

    async def read_events(self, stream: FollowedStream, start: str) -> Cut:
        """The same, from the cache or the origin."""
        return await self._events.read(stream, start)

    async def more(self, stream: FollowedStream, start: str) -> tuple[CacheResult, StreamRead]:
        """What a followed stream has after an offset. Raises StreamGone when another one is there.

        A copy of another type is of a stream before it: then the origin is asked.
        """
        for _ in range(2):
            result, facts = await self._whole(stream.place, start)
            if followed.is_of_type(facts.content_type, stream.snapshot.content_type):
                return result, facts
            self.forget(stream.place.read.path)
        raise StreamGone(ANOTHER_STREAM)

    async def _whole(self, place: Place, offset: str) -> tuple[CacheResult, StreamRead]:
        result = await self.catch_up(place, offset)
        facts = result.cached.facts
        if facts is None:
            try:
                refuse(result.cached.status, result.cached.fields())
            except Ended as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return result, facts

    async def catch_up(self, place: Place, offset: str) -> CacheResult:
        """A whole answer to a read from an offset, kept or fetched."""
        request = place.request.elsewhere(offset)
        result = await self._cache.read(request, LONGEST_READ)
        cached = result.cached
        if is_coded(cached):
            raise OriginBroken("the origin compresses what it was asked to leave as it is")
        if cached.facts is None and cached.status == 200 and NEXT_OFFSET in cached.fields():
            raise OriginBroken("the origin's offsets have characters that cannot be passed on")
        return result

    async def tail(self, place: Place) -> Snapshot:
        """The stream as it ends now, from the origin itself; asked once for all who want it."""
        return await self._tails.read((place.key, self.forgotten), lambda: self._tail(place))

    async def _tail(self, place: Place) -> Snapshot:
        result, facts = await self._whole(place, NOW)
        return snapshot_of(place, NOW, result, facts)
