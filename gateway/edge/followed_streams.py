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
from gateway.edge.followed_stream import LONGEST_READ, FollowedStream, refuse, watch_key
from gateway.edge.follower import Ended
from gateway.edge.snapshots import is_coded, is_variant, view_of
from gateway.edge.window_budget import WindowBudget
from gateway.errors import HeadgateError, OriginBroken, StreamGone, StreamNotFound
from gateway.protocol import followed
from gateway.protocol.followed import Span, View
from gateway.protocol.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gateway.cache.fetch import Landed, SharedFetch
    from gateway.cache.http_cache import Given, HttpCache
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
    """The watches of a route, and what their feeds need: the Host of them all."""

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
        self._watches: dict[Hashable, FollowedStream] = {}
        self._of_path: dict[str, set[FollowedStream]] = {}
        self._rendered: dict[tuple[int, str, int | None, int], bytes] = {}
        self._events = EdgeEvents(self)
        self._tails: SingleFlight[View] = SingleFlight()
        self.forgotten = 0  # times: what was asked for before the last one may be of the past
        self._none = asyncio.Event()
        self._none.set()
        self._draining = False

    def peek(self, key: Hashable) -> FollowedStream | None:
        """The followed stream, if it is."""
        return self._watches.get(key)

    def standing(self, key: Hashable, view: View, *, ends: bool) -> FollowedStream | None:
        """The followed stream, unless a read, which perhaps `ends`, shows that it is no more."""
        watch = self._watches.get(key)
        if watch is None or not watch.is_contradicted(view, ends=ends):
            return watch
        watch.over(StreamGone(ANOTHER_STREAM))
        return None

    def watch(self, place: Place, view: View) -> FollowedStream:
        """The stream, followed from where a read ends; raises at the bound of feeds."""
        watch = self.standing(place.key, view, ends=True)
        if watch is None:
            with ExitStack() as held:
                held.enter_context(self._shared.limits.feed())
                watch = FollowedStream(place, view, self)
                held.callback(watch.end)
                self._linger(watch)
                self._watches[place.key] = watch
                self._of_path.setdefault(place.read.path, set()).add(watch)
                self._none.clear()
                watch.held = held.pop_all()
        return watch

    def found(
        self, place: Place, read: LongPoll, view: View, given: Given, position: str
    ) -> Response | None:
        """The answer for a poll that has read from the origin; None when it has to wait."""
        now = self.clock()
        facts = given.held.facts
        if facts is None or facts.is_empty:
            ended = followed.poll_ended(view, read, view.tail, now)
            return ended if view.closed else None
        span = Span(position, view.tail, given.held.body)
        limits = self._shared.limits
        if view.caught_up and not view.closed and limits.feeds < limits.max_feeds:
            # It will be back at the next offset, and in a herd some always come too late for the
            # tail: so the stream is followed from now on.
            self.watch(place, view).read_by_somebody(span, given)
        return self._data(view, read, span)

    def join(self, watch: FollowedStream) -> Feed[FollowedStream, Span]:
        """The feed, for one more reader; raises at the readers' limit."""
        self._shared.limits.reader_joins()
        if watch.closing is not None:
            watch.closing.cancel()
            watch.closing = None
        return watch.feed

    def written(self, path: str, next_offset: str, *, closed: bool) -> None:
        """A write through this gateway: until the feeds hear of it, they do not know the tail."""
        for watch in tuple(self._of_path.get(path, ())):
            watch.expect(next_offset, closed=closed)

    def deleted(self, path: str) -> None:
        """A stream was deleted through this gateway: nobody need wait for the origin to say so."""
        for watch in tuple(self._of_path.get(path, ())):
            watch.over(StreamNotFound("the stream was deleted"))

    def is_tail(self, key: Hashable, offset: str) -> bool:
        """Whether a stream is known to end at an offset, since it is followed."""
        watch = self._watches.get(key)
        return watch is not None and watch.knows_tail(offset)

    def _is_of_now(self, flight: SharedFetch, landed: Landed | None) -> bool:
        """Whether a read has found the stream that is there, and not one before it.

        Where it shows that what is followed or kept is of another one, that is of the past.
        """
        ask, held = flight.ask, flight.begun.result() if landed is None else landed.held
        stood_in = landed is not None and landed.how is How.STOOD_IN
        if flight.of_the_past or stood_in:
            return True
        key = watch_key(ask.host, ask.read, ask.identity)
        watch = self._watches.get(key)
        if held.status == 404 and watch is not None:
            watch.over(StreamNotFound("the stream was deleted"))
        if held.facts is None or is_variant(held):
            return True
        if self._incarnations.is_past(key, held.facts.content_type, flight.number):
            return False
        if watch is not None and watch.is_another(ask.start, held.facts, landed and held.body):
            watch.over(StreamGone(ANOTHER_STREAM))
        if self._incarnations.is_another(key, held.facts.content_type, flight.number):
            self.forget(ask.path)
        return True

    # Keeper

    def moved(self, watch: FollowedStream) -> None:
        """What is kept of the stream's old tail is old."""
        self._cache.moved(watch.place.read.path)

    def over(self, watch: FollowedStream) -> None:
        """What is kept of the stream is of the past."""
        self._forget(watch)
        self.forget(watch.place.read.path)

    def forget(self, path: str) -> None:
        """A write may have changed everything at a path, or the stream there is another one."""
        self.forgotten += 1
        self._cache.forget(path)
        self._events.drop(path)

    def feed_empty(self, feed: Feed[FollowedStream, Span]) -> None:
        """Nobody reads the feed any more: follow the stream a little longer."""
        watch = feed.view
        if self._watches.get(watch.place.key) is not watch:
            return
        if self._draining or feed.closed:
            self._forget(watch)
        else:
            self._linger(watch)

    def _linger(self, watch: FollowedStream) -> None:
        loop = asyncio.get_running_loop()
        watch.closing = loop.call_later(LINGER_S, self._forget, watch)

    def _forget(self, watch: FollowedStream) -> None:
        if self._watches.get(watch.place.key) is not watch:
            return
        del self._watches[watch.place.key]
        path = watch.place.read.path
        others = self._of_path[path]
        others.discard(watch)
        if not others:
            del self._of_path[path]
        watch.held.close()
        if not self._watches:
            self._rendered.clear()
            self._none.set()

    async def drain(self) -> None:
        """Let every live reader go, and wait until they have."""
        self._draining = True
        for watch in list(self._watches.values()):
            if watch.feed.has_readers:
                watch.feed.drain()
            else:
                self._forget(watch)
        await self._none.wait()

    def close(self) -> None:
        """Follow nothing any more, whoever waits."""
        for watch in list(self._watches.values()):
            self._forget(watch)

    # Host

    def reader_left(self) -> None:
        """One live reader fewer."""
        self._shared.limits.reader_left()

    def poll_data(
        self, view: FollowedStream, parked: Parked, news: Sequence[Span]
    ) -> tuple[Response, bytes] | None:
        """The news after the waiter's offset."""
        response = self.news(view, parked.read, parked.position)
        if response is None and news and news[0].start == parked.position:  # too long to be kept
            if are_long(news):
                news = news[:1]  # it comes back for the others
            span = followed.joined(view.view.content_type, news)
            response = self._data(view.view, parked.read, span)
        return None if response is None else self._shared.collapsed(response)

    def poll_ended(self, view: FollowedStream, parked: Parked) -> tuple[Response, bytes] | None:
        """204, which says that there is nothing more; None where that is not known."""
        if not followed.is_end(view.view, parked.position):
            return None
        now = self.clock()
        return self._shared.collapsed(
            followed.poll_ended(view.view, parked.read, parked.position, now)
        )

    def refusal(self, reason: HeadgateError) -> tuple[Response, bytes]:
        """A problem."""
        return self._shared.collapsed(self._shared.problem(reason))

    async def out_of_time(self, watch: FollowedStream, read: LongPoll, position: str) -> Response:
        """The answer for a poll that has waited long enough."""
        lost = watch.feed.lost
        if lost is not None:
            return self._shared.problem(lost)
        if followed.is_end(watch.view, position):
            return followed.poll_ended(watch.view, read, position, self.clock())
        return await self._read_for(watch, read, position)

    def news(self, watch: FollowedStream, read: LongPoll, position: str) -> Response | None:
        """The answer for a poll that is a little behind."""
        span = watch.since(position)
        return None if span is None else self._data(watch.view, read, span)

    def _data(self, view: View, read: LongPoll, span: Span) -> Response:
        """200 for a poll; where others ask for its URL, too, no more is said than of the tail."""
        now = self.clock()
        if not followed.moves_on(read, now):
            said = view.polls_say or view.reads_say or ""
            short = tails.shortened_lines(said, self.freshness.tail_max_age)
            view = view._replace(polls_say=short)
        return followed.data(view, read, span, now, self.freshness)

    def news_for(self, watch: FollowedStream, read: EdgeLongPoll) -> bytes | None:
        """The same as bytes, rendered once for all who ask it."""
        assert isinstance(read.offset, str), "polls name one"
        now = self.clock()
        key = (watch.edition, read.offset, read.cursor, int(now))
        wire = self._rendered.get(key)
        if wire is None:
            response = self.news(watch, read, read.offset)
            if response is None:
                return None
            _, wire = self._shared.collapsed(response)
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            if len(wire) <= LONGEST_RENDERED:
                self._rendered[key] = wire
        return wire

    async def late_poll(
        self, view: FollowedStream, parked: Parked
    ) -> tuple[Response, bytes] | None:
        """The answer for a waiter whose offset lies between those that the news have."""
        response = await self._read_for(view, parked.read, parked.position)
        is_over = parked.deadline <= asyncio.get_running_loop().time()
        return self._shared.collapsed(response) if response.body or is_over else None

    async def _read_for(self, watch: FollowedStream, read: LongPoll, position: str) -> Response:
        """The answer for a poll, from the cache or the origin."""
        given, facts = await self.more(watch, position)
        known = view_of(watch.place, position, given, facts)
        if facts.is_empty:
            known = known._replace(caught_up=True)
            return followed.poll_ended(known, read, facts.next_offset, self.clock())
        span = Span(position, facts.next_offset, given.held.body)
        watch.read_by_somebody(span, given)
        return self._data(known, read, span)

    def cut(self, view: FollowedStream, start: str, news: Sequence[Span]) -> list[Cut] | None:
        """News as one data event; None when they are too long for one turn."""
        return self._events.cut(view, start, news)

    def cached_events(self, view: FollowedStream, start: str) -> Cut | None:
        """What follows `start`, when it is at hand."""
        return self._events.at_hand(view, start)

    async def read_events(self, view: FollowedStream, start: str) -> Cut:
        """The same, from the cache or the origin."""
        return await self._events.read(view, start)

    async def more(self, watch: FollowedStream, start: str) -> tuple[Given, StreamRead]:
        """What a followed stream has after an offset. Raises StreamGone when another one is there.

        A copy of another type is of a stream before it: then the origin is asked.
        """
        for _ in range(2):
            given, facts = await self._whole(watch.place, start)
            if followed.is_of_type(facts.content_type, watch.view.content_type):
                return given, facts
            self.forget(watch.place.read.path)
        raise StreamGone(ANOTHER_STREAM)

    async def _whole(self, place: Place, offset: str) -> tuple[Given, StreamRead]:
        given = await self.catch_up(place, offset)
        facts = given.held.facts
        if facts is None:
            try:
                refuse(given.held.status, given.held.fields())
            except Ended as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return given, facts

    async def catch_up(self, place: Place, offset: str) -> Given:
        """A whole answer to a read from an offset, kept or fetched."""
        ask = place.ask.elsewhere(offset)
        given = await self._cache.read(ask, LONGEST_READ)
        held = given.held
        if is_coded(held):
            raise OriginBroken("the origin compresses what it was asked to leave as it is")
        if held.facts is None and held.status == 200 and "Stream-Next-Offset" in held.fields():
            raise OriginBroken("the origin's offsets have characters that cannot be passed on")
        return given

    async def tail(self, place: Place) -> View:
        """The stream as it ends now, from the origin itself; asked once for all who want it."""
        return await self._tails.read((place.key, self.forgotten), lambda: self._tail(place))

    async def _tail(self, place: Place) -> View:
        given, facts = await self._whole(place, NOW)
        return view_of(place, NOW, given, facts)
