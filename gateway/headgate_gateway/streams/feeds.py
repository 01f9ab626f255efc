"""The live readers of an own log's streams: a feed for each view of a stream, fed by commits.

The responses to their long-polls, and the events of SSE readers, come from a HostedFeedSource.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.access.reader_keys import renewed
from headgate_gateway.errors import LogUnavailable, StreamGone
from headgate_gateway.live.contract import DataEvent
from headgate_gateway.live.feed import Feed
from headgate_gateway.live.long_polls import HERD_S
from headgate_gateway.live.source import (
    EVENT_CHUNK_BYTES,
    LONGEST_ROUND,
    EventChunk,
    FeedSource,
    rendered,
)
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.bodies.content import data_event, read_body
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import NOW, Offset, parse_offset
from headgate_gateway.protocol.streams.state import position_of
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.store import Store
from headgate_gateway.streams.active_stream import have_same_beginning
from headgate_gateway.streams.follower import StreamFollower
from headgate_gateway.streams.reads import HostedReads, LiveRead, groups

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from headgate_gateway.live.contract import Parked
    from headgate_gateway.live.source import FeedSettings
    from headgate_gateway.protocol.requests import Events
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Record, StreamState
    from headgate_gateway.protocol.views import View
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.contract import ParsedPoll
    from headgate_gateway.streams.active_stream import ActiveStream
    from headgate_gateway.streams.follower import HostedFeed


class RenderedViews(Protocol):
    """The views of a route's streams in the dialects of clients."""

    async def respond(
        self,
        request: Any,  # noqa: ANN401 - of headgate_gateway.web, above
        read: Events,
        live: LiveRead,
        /,
    ) -> RouteAnswer | None:
        """Return the response, or None once a feed has the connection. Raises HeadgateError."""

    def feed(self, state: StreamState, view: View, owner: HostedFeeds) -> HostedFeed:
        """Return a feed for the readers of a view, to which the stream's news are published."""

    def feed_ended(self, feed: HostedFeed) -> None:
        """Note that a feed has no more readers; it may be a feed of another view."""


class PollPosition(NamedTuple):
    """The offset `position` of a stream in one of its states, after which long-polls wait."""

    active: ActiveStream
    state: StreamState
    position: str


class HostedFeedSource(FeedSource["StreamState", "Record"]):
    """The FeedSource of a route."""

    def __init__(
        self,
        reads: HostedReads,
        settings: FeedSettings,
        events: Store[EventChunk],
    ) -> None:
        """Cache the data events for catch-up in `events`."""
        super().__init__(reads.services, settings, reads.traffic)
        self._events = events
        self._table = reads.table
        self._route_reads = reads
        self._event_reads: SingleFlight[DataEvent] = SingleFlight(reads.traffic.collapsed)

    @override
    def news_bytes(self, news: Sequence[Record]) -> int:
        return sum(len(record.data) for record in news)

    @override
    def poll_data(
        self, stream: StreamState, parked: Parked, news: Sequence[Record]
    ) -> Response | None:
        """Return the records after the waiter's position; None if that is inside a record."""
        start = parse_offset(parked.position, "position").position
        if stream.offset(start) != parked.position:
            return None
        mine = [record for record in news if record.end > start]
        if not mine or mine[0].end - len(mine[0].data) != start:
            return None
        return self._data(parked, chunks.cut(stream, start, mine)[0])

    def _data(self, parked: Parked, chunk: Chunk) -> Response:
        read = renewed(self._route_reads.reader_keys, parked.read)
        return responses.data(chunk, read, self._route_reads.freshness, self.services.clock())

    @override
    def poll_ended(self, stream: StreamState, parked: Parked) -> Response:
        """Return 204; a reader that is ahead of the feed is at the tail that the table knows."""
        if stream.offset(stream.tail) != parked.position:
            active = self._table.peek(stream.path)
            known = stream if active is None or active.state is None else active.state
            if known.offset(known.tail) != parked.position:
                unknown = LogUnavailable("the log does not tell what follows offset")
                return self.services.problem(unknown)
            stream = known
        read = renewed(self._route_reads.reader_keys, parked.read)
        return responses.poll_ended(
            stream, read, self._route_reads.freshness, self.services.clock()
        )

    @override
    async def late_poll(self, stream: StreamState, parked: Parked) -> Response | None:
        """Answer from the log a poll whose position the feed had already passed."""
        active = await self._table.load(stream.path)
        state = self._table.present(active)
        if parked.position == NOW:  # the tail may have moved back: the log has lost its end
            position = state.offset(state.tail)
            return self.poll_ended(state, replace(parked, position=position))
        if parked.read.offset is None:  # the beginning, which may have moved on
            start = state.first
        else:
            start = position_of(state, parse_offset(parked.position, "offset"))
        if start == state.tail:
            return self.poll_ended(state, parked) if state.closed else None
        return self._data(parked, await self._route_reads.chunk_for(parked.read, state, start))

    @override
    def data_events(
        self, stream: StreamState, start: str, news: Sequence[Record]
    ) -> list[DataEvent] | None:
        """Return records as data events, cut where every catch-up read would cut them."""
        if news and news[-1].end - news[0].end + len(news[0].data) > LONGEST_ROUND:
            return None
        begin = parse_offset(start, "position").position
        cut = chunks.cut(stream, begin, news)
        return [_data_event(chunk) for chunk in cut]

    @override
    def cached_event(self, stream: StreamState, start: str) -> DataEvent | None:
        entry = self._events.get(self._key(stream, start), self.services.clock())
        return None if entry is None else DataEvent(entry.data_event, entry.end)

    @override
    async def read_event(self, stream: StreamState, start: str) -> DataEvent:
        key = (stream.stream_id, start, stream.version, stream.history)
        return await self._event_reads.read(key, lambda: self._event(stream, start))

    async def _event(self, stream: StreamState, start: str) -> DataEvent:
        position = position_of(stream, parse_offset(start, "position"))
        chunk = await self._table.read(stream, position)
        body = read_body(chunk.state.content_type, chunk.records)
        data_event = await rendered(self._table.turns, chunk.state.content_type, body)
        event = DataEvent(data_event, chunk.state.offset(chunk.end))
        until_change = not chunk.complete
        if self._table.is_current(chunk, until_change=until_change):
            kept_with = groups(stream, until_change=until_change)
            self._events.put(EventChunk(self._key(stream, start), kept_with, *event))
        return event

    def _key(self, stream: StreamState, start: str) -> Hashable:
        return stream.stream_id, start


def _data_event(chunk: Chunk) -> DataEvent:
    content_type = chunk.state.content_type
    body = read_body(content_type, chunk.records)
    return DataEvent(data_event(content_type, body), chunk.state.offset(chunk.end))


class HostedFeeds:
    """The feeds of a route."""

    def __init__(self, reads: HostedReads, settings: FeedSettings) -> None:
        self._events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self._route_reads = reads
        self._table = reads.table
        self._table.caches.stores.append(self._events)
        self.source = HostedFeedSource(reads, settings, self._events)
        self.views: RenderedViews | None = None  # set where the route is made
        self._limits = reads.services.limits
        self._feeds: set[HostedFeed] = set()
        self._lingering: dict[HostedFeed, asyncio.TimerHandle] = {}
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """Number of feeds."""
        return len(self._feeds)

    def find_position(self, poll: ParsedPoll) -> PollPosition | None:
        """Return where a long-poll can wait, or None. Raises HeadgateError.

        Equal long-polls share it while the stream has this state, if it depends on nothing else.
        """
        poll.position = None  # it may hold a stream that was dropped from the table
        active, offset = self._table.peek(poll.name), poll.read.offset
        if active is None or active.state is None or not self._table.following.are_complete(active):
            return None
        state = self._table.present(active)
        if state.closed:
            return None
        start = chunks.start_position(state, offset)
        found = PollPosition(active, state, state.offset(start))
        is_at_tail = start == state.tail
        if not is_at_tail and not self._reaches(active, found.position, poll.read.view):
            return None
        if isinstance(offset, Offset) and offset.position > state.tail:
            return None  # another gateway may know more: a handler reads the log
        if is_at_tail and state.deadline is None and not self._table.is_shared:
            poll.position = found
        self._table.deadlines.touch(active)
        return found

    @staticmethod
    def _reaches(active: ActiveStream, position: str, view: View) -> bool:
        """Return whether the stream's feed can answer a poll from an offset before the tail."""
        follower = active.follower
        feed = None if follower is None else follower.feeds.get(view)
        return feed is not None and feed.long_polls.answers.recent.covers(position)

    def join(self, active: ActiveStream, state: StreamState, view: View) -> HostedFeed:
        """Return the stream's feed of a view, made for its first reader.

        Raises LimitReached at the limit of readers.
        """
        self._limits.reader_joins()
        follower = active.follower
        found = None if follower is None else follower.feeds.get(view)
        if found is not None:
            return found
        try:
            return self._new_feed(active, state, view)
        except BaseException:
            self._limits.release_reader()
            raise

    def _new_feed(self, active: ActiveStream, state: StreamState, view: View) -> HostedFeed:
        follower = active.follower
        if follower is None:
            table = self._table
            follower = active.follower = StreamFollower(state, table.read, table.reload)
        stream = follower.stream
        if view.is_rendered:
            assert self.views is not None, "set where the route is made"
            feed = self.views.feed(stream, view, self)
        else:
            closed = follower.is_caught_up and stream.closed
            feed = Feed(stream, follower.tail, self.source, self.on_feed_empty, closed=closed)
            feed.caught_up = follower.is_caught_up
        follower.feeds[view] = feed
        self._feeds.add(feed)
        self._none.clear()
        try:
            self._table.following.follow(active)
        except BaseException:
            self._end(feed)
            raise
        return feed

    async def prepare(self, read: LiveRead) -> LiveRead:
        """Read the first events while an error can still be sent as a status.

        The stream may have moved on meanwhile, and a feed must begin with it as it is now.
        """
        state, start, source = read.state, read.state.offset(read.start), self.source
        if read.start == state.tail or source.cached_event(state, start) is not None:
            return read
        lost: StreamGone | None = None
        try:
            await source.read_event(state, start)
        except StreamGone as gone:
            lost = gone
        active = await self._table.load(state.path)
        now = self._table.present(active)
        if read.from_first and not have_same_beginning(now, state):
            return await self.prepare(LiveRead(active, now, now.first, from_first=True))
        if lost is not None:
            raise lost
        if now.stream_id != state.stream_id:
            raise StreamGone("the stream was deleted, and another one is at its path now")
        if now.offset(read.start) != start:
            raise StreamGone("the log has lost what was before this offset")
        return read._replace(active=active, state=now)

    async def drain(self) -> None:
        """Disconnect every live reader, and wait until all have left."""
        for feed in list(self._feeds):
            feed.drain()
            if not feed.has_readers:
                self._end(feed)
        await self._none.wait()

    def end_readers(self) -> None:
        """End every live reader at an event, while the route goes on with those that come then."""
        for feed in list(self._feeds):
            self._detach(feed)
            feed.drain()
            if not feed.has_readers:
                self._end(feed)

    def on_feed_empty(self, feed: HostedFeed) -> None:
        """Drop a feed without readers, or keep it for a while if many are expected back."""
        if feed.closed or not feed.long_polls.are_coming_back:
            self._end(feed)
        elif feed not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[feed] = loop.call_later(HERD_S, self._look_again, feed)

    def _look_again(self, feed: HostedFeed) -> None:
        """Drop a lingering feed, unless it has readers again."""
        del self._lingering[feed]
        if not feed.has_readers:
            self.on_feed_empty(feed)

    def _end(self, feed: HostedFeed) -> None:
        timer = self._lingering.pop(feed, None)
        if timer is not None:
            timer.cancel()
        self._feeds.discard(feed)
        if not self._feeds:
            self._none.set()
        self._detach(feed)
        if self.views is not None:
            self.views.feed_ended(feed)

    def _detach(self, feed: HostedFeed) -> None:
        """Send the feed no more news; the next reader of its view gets another one."""
        active = self._table.peek(feed.stream.path)
        follower = None if active is None else active.follower
        if active is None or follower is None:
            return
        view = next((view for view, it in follower.feeds.items() if it is feed), None)
        if view is not None:
            del follower.feeds[view]
            if not follower.feeds:
                active.follower = None
                self._table.following.unfollow(active)
