"""The reads of events from an HTTP origin, through the route's own cache and feeds."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from multidict import CIMultiDict
from typing_extensions import override

from gateway.edge.followed.origin_reads import CannotFollow, refuse
from gateway.errors import (
    BadRequest,
    ClientLimitReached,
    LimitReached,
    OriginBehind,
    StreamGone,
    StreamNotFound,
)
from gateway.features.mcp.mcp_requests import events_of
from gateway.features.mcp.origin_pages import (
    LatestBatch,
    OriginBatch,
    new_numbering,
    origin_cursor,
    origin_position,
    page_of,
    with_numbering,
)
from gateway.features.mcp.reading import (
    EventPage,
    EventPlace,
    EventReader,
    StreamWatch,
)
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.live.contract import ReaderClient, Waiter
from gateway.protocol.http.forwarding import RequestSender
from gateway.protocol.requests import LongPoll
from gateway.protocol.streams.offsets import BEGINNING, NOW, TailBound
from gateway.rules import edge_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.route import EdgeRoute
    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.mcp_requests import EventsOfRoute
    from gateway.features.subscriptions.state.delivery_state import EventNumbering
    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.features.subscriptions.streams import OtherView, StreamView
    from gateway.live.contract import PollAnswer
    from gateway.live.feed import Feed
    from gateway.live.source import FeedSettings
    from gateway.routes.setup import RouteSetup
    from gateway.rules.cached_response import CacheRequest
    from gateway.rules.followed import Snapshot, Span
    from gateway.runtime.limits import ServerLimits


# seconds until a stream is checked again that is not there, has ended, or is not followed because
# of max_feeds: as often as hosts are asked to poll
CHECK_AGAIN_S = 5.0


class OriginWatch(StreamWatch, Waiter):
    """A watch, which waits in the feed of its stream as a long-poll does.

    Its client holds a place among the live readers. While it waits, the feed has that place.
    """

    principal = None  # the stream of events checks its client again itself
    client = ReaderClient(0, None, "MCP Events")

    def __init__(
        self, origin: OriginEventReader, name: str, account: str, on_news: Callable[[], None]
    ) -> None:
        self._origin = origin
        self._name = name
        self._account = account
        self._on_news = on_news
        self._offset = ""  # where it waits
        self._seen: TailBound | None = None  # the tail that a check has shown, and no read yet
        self._feed: Feed[FollowedStream, Span] | None = None  # while it waits there
        self._timer: asyncio.TimerHandle | None = None

    @override
    async def wait_behind(self, at: EventPosition | None) -> None:
        if at is None or at.is_closed:
            self._check_again()
            return
        offset = at.position or BEGINNING
        if self._feed is not None and offset == self._offset:
            return
        self._leave()
        request = self._origin.request(self._name, offset)
        try:
            with self._origin.edge.feeds.writes.reading(request.path):
                await self._join(request, offset)
        except (ClientLimitReached, LimitReached):
            self._check_again()

    async def _join(self, request: CacheRequest, offset: str) -> None:
        """Wait in the feed of the stream, or call back if that has more already."""
        feeds = self._origin.edge.feeds
        stream = feeds.read_by(request)
        if stream is None or not stream.may_wait(offset):
            known = await self._origin.tail(self._name)
            if known is None or known.closed or known.tail > offset:
                self._call_for(None if known is None else TailBound(known.tail, known.closed))
                return
            if known.tail < offset:
                raise OriginBehind("the origin tells of a stream that ends earlier", known.tail)
            stream = feeds.follow(request, known, self._account)
        self._feed = feed = feeds.join(stream, request, has_slot=True)
        self._offset = offset
        read = LongPoll(request.path, request.target, offset, None, others=request.read.others)
        feed.long_polls.park(self, read, offset)

    def _call_for(self, seen: TailBound | None) -> None:
        """Call back because the stream has more than reads have shown, or is gone."""
        if seen is None or seen == self._seen:  # a replica lags, or cuts its answers
            self._check_again()
            return
        self._seen = seen
        self._origin.drop_tail(self._name, seen)
        self._on_news()

    def _check_again(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CHECK_AGAIN_S, self._check)

    def _check(self) -> None:
        self._timer = None
        self._on_news()

    @override
    def answer(self, answer: PollAnswer) -> None:
        """Call back: what has come is read as the events of a page."""
        self._take_place()
        self._on_news()

    @override
    def abandon(self) -> None:
        self._take_place()
        self._on_news()

    def _take_place(self) -> None:
        """Take the place among the live readers back, which the feed releases now."""
        self._feed = None
        self._origin.limits.count_reader()

    def _leave(self) -> None:
        feed = self._feed
        if feed is not None:
            self._take_place()
            feed.remove(self)

    @override
    def stop(self) -> None:
        self._leave()
        if self._timer is not None:
            self._timer.cancel()


class OriginEventReader(EventReader):
    """The reads of events of a route to an HTTP origin, which have no client's credentials.

    They name a `host`, and share responses and feeds with readers whose requests name the same.
    """

    def __init__(
        self,
        edge: EdgeRoute,
        limits: ServerLimits,
        host: str = "",
        latest: LatestBatch | None = None,
    ) -> None:
        self.edge = edge
        self.limits = limits
        self._host = host
        self._latest = latest or LatestBatch()

    @override
    def for_host(self, host: str) -> OriginEventReader:
        return OriginEventReader(self.edge, self.limits, host, self._latest)

    @property
    @override
    def feed_settings(self) -> FeedSettings:
        return self.edge.feeds.source.settings

    @override
    def checked_cursor(self, cursor: object) -> str | None:
        return None if cursor is None else origin_cursor(origin_position(cursor))

    @override
    def cursor_at(self, state: StreamView | None, at: EventPosition) -> str:
        return origin_cursor(at)

    @override
    def first_cursor(self) -> str:
        return origin_cursor(EventPosition(""))

    @override
    def new_numbering(self) -> EventNumbering:
        return new_numbering()

    @override
    async def state(self, link: StreamLink) -> StreamView | None:
        return link.stream.state

    # Reads

    @override
    async def place(self, name: str, cursor: str) -> EventPlace | None:
        """Return where a cursor leads, if the origin has data there or ends there."""
        found = await self._find_batch(name, origin_position(cursor), None)
        if found is None:
            return None
        batch, place = found
        if batch.end == place.position.position:  # some origins echo any offset
            tail = await self.tail(name)
            if tail is None:
                return None
            if tail.tail < batch.end:
                return EventPlace(with_numbering(EventPosition(tail.tail)), is_truncated=True)
        return place

    @override
    async def next(
        self, event: EventType, name: str, cursor: str | None, most: int
    ) -> EventPage | None:
        if cursor is not None:
            return await self._page(event, name, origin_position(cursor), most, None)
        tail = await self.tail(name)
        if tail is None:
            return None
        at = with_numbering(EventPosition(tail.tail, 0, tail.closed))
        return EventPage((), at, at, False, origin_cursor(at))

    @override
    async def page(
        self, event: EventType, state: OtherView, start: EventPosition, most: int
    ) -> EventPage:
        """Return the next events, `most` of them and one batch at most.

        The latest batch stays in memory until all its events are read: it may be too long for the
        cache, and the origin would send it again and again.
        """
        place = (state.path, state.stream_id, start.position)
        latest = self._latest
        is_within = latest.place == place and 0 < start.messages < latest.parsed.total
        if is_within and start.numbering is not None:
            page: EventPage | None = page_of(event, state.path, latest.parsed, start, most)
        else:
            known = TailBound(state.tail, state.closed)
            page = await self._page(event, state.path, start, most, known)
        if page is None:
            raise StreamNotFound("the stream is not there")
        if page.end.messages and page.end.position == start.position:
            latest.place = place
        elif is_within:
            latest.clear()
        return page

    async def _page(
        self, event: EventType, name: str, start: EventPosition, most: int, known: TailBound | None
    ) -> EventPage | None:
        found = await self._find_batch(name, start, known)
        if found is None:
            return None
        batch, (at, is_truncated) = found
        parsed = self._latest.parse(batch)
        if at.messages <= parsed.total:
            page = page_of(event, name, parsed, at, most)
        elif batch.is_last and known is None:  # perhaps cached before what the cursor counts came
            tail = await self.tail(name)
            if tail is None:
                return None
            reach = TailBound(tail.tail, tail.closed)
            return await self._page(event, name, start, most, reach)
        elif batch.is_last:  # the origin has lost what the cursor was behind
            is_truncated = True
            at = with_numbering(EventPosition(batch.end))
            page = EventPage((), at, at, False, origin_cursor(at))
        else:
            end = parsed.position(at, parsed.total)._replace(messages=at.messages - parsed.total)
            page = EventPage((), at, end, True, origin_cursor(end))
        return page._replace(gap=origin_cursor(at)) if is_truncated else page

    async def _find_batch(
        self, name: str, start: EventPosition, known: TailBound | None
    ) -> tuple[OriginBatch, EventPlace] | None:
        """Return the batch at a position, and the position, or another one if data are missing.

        None if there is no such stream.
        """
        try:
            return await self._batch(name, start.position, known), EventPlace(with_numbering(start))
        except StreamNotFound:
            return None
        except StreamGone:
            if not start.position:
                return None
        at = with_numbering(EventPosition(""))
        try:
            return await self._batch(name, "", known), EventPlace(at, is_truncated=True)
        except (StreamNotFound, StreamGone):
            return None

    async def _batch(self, name: str, position: str, known: TailBound | None) -> OriginBatch:
        """Return the batch at a position, of a stream that is `known` to reach so far.

        Raises HeadgateError.
        """
        batch = await self._read(name, position)
        if known is None or _shows(batch, known):
            return batch
        self.drop_tail(name, known)
        batch = await self._read(name, position)
        if not _shows(batch, known):
            raise OriginBehind("the origin does not show what it has told before", batch.end)
        return batch

    async def _read(self, name: str, position: str) -> OriginBatch:
        """Return a batch from the news of a followed stream, the cache, or the origin."""
        feeds, offset = self.edge.feeds, position or BEGINNING
        request = self.request(name, offset)
        stream = feeds.read_by(request)
        if stream is not None:
            snapshot, span = stream.state.snapshot, stream.since(offset)
            if stream.state.knows_tail(offset):
                return OriginBatch(snapshot.content_type, b"", offset, True, False)
            if span is not None:
                is_last = span.end == snapshot.tail and snapshot.caught_up
                closed = is_last and snapshot.closed
                return OriginBatch(snapshot.content_type, span.body, span.end, is_last, closed)
        result = await feeds.reader.catch_up(request, offset)
        facts, status = result.cached.facts, result.cached.status
        if facts is None:
            if status == HTTPStatus.BAD_REQUEST and position:
                raise BadRequest("the origin takes the offset of this cursor for none of its own")
            _refuse(result.cached.status, result.cached.said.again_s)
        assert facts is not None, "refused otherwise"
        body = b"" if facts.is_empty else result.cached.body
        closed = facts.closed and facts.ends
        return OriginBatch(facts.content_type, body, facts.next_offset, facts.ends, closed)

    async def tail(self, name: str) -> Snapshot | None:
        """Return a stream as it ends at the origin now; None if there is none."""
        feeds, request = self.edge.feeds, self.request(name, NOW)
        stream = feeds.read_by(request)
        if stream is not None and stream.state.knows_now:
            return stream.state.snapshot
        try:
            return await feeds.reader.tail(request)
        except (StreamNotFound, StreamGone):
            return None

    def drop_tail(self, name: str, known: TailBound) -> None:
        """Drop the cached responses that reached an old tail of a stream."""
        self.edge.cache.on_growth(f"{self.edge.prefix}/{name}", known)

    def request(self, name: str, offset: str) -> CacheRequest:
        """Return a read of no client in particular, as the cache and the feeds see it."""
        read = edge_target.catch_up(self.edge.parse(f"{self.edge.prefix}/{name}"), offset)
        sender = RequestSender("", self.edge.requests.scheme, self._host)
        headers = CIMultiDict({"Host": self._host})
        request = self.edge.requests.cache_request(headers, sender, read)
        return request.plain(self.edge.identity)

    @override
    def watch(self, name: str, account: str, on_news: Callable[[], None]) -> StreamWatch:
        return OriginWatch(self, name, f"mcp:{account}", on_news)


def _shows(batch: OriginBatch, known: TailBound) -> bool:
    """Return whether a batch can be of a stream that is known to reach so far."""
    return not batch.is_last or known.is_reached_by(batch.end, closed=batch.is_closed)


def _refuse(status: int, again_s: int | None) -> None:
    """Raise the error for a read that was answered with `status`."""
    try:
        refuse(status, again_s)
    except CannotFollow as end:
        raise end.reason from end


def events_of_origin(route: EdgeRoute, made: RouteSetup) -> EventsOfRoute | None:
    """Return the events of a route to an HTTP origin. Raises StartError at a start."""
    return events_of(route, made, lambda: OriginEventReader(route, made.services.limits))
