"""The live readers of an own log's streams: a feed for each view of a stream, fed by commits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.cache.rendered import EVENT_CHUNK_BYTES, EventChunk
from gateway.cache.store import Store
from gateway.errors import BadRequest, HeadgateError, LogUnavailable, StreamGone, StreamNotFound
from gateway.hosted.feed_source import HostedFeedSource
from gateway.live.feed import Feed
from gateway.live.long_polls import HERD_S
from gateway.protocol.streams.generations import position_of
from gateway.protocol.streams.offsets import parse_offset
from gateway.protocol.streams.state import Record, StreamState, records_after
from gateway.protocol.views import END_MARK
from gateway.streams.reload_queue import RELOAD_S
from gateway.streams.versions import begins_alike
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from gateway.access.reader_keys import ReaderKeys
    from gateway.hosted.chunk_reader import ChunkReader
    from gateway.hosted.folded_reader import ChunkReaders
    from gateway.live.contract import FeedSettings
    from gateway.live.feed import FeedOwner
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.http.trace_context import TraceContext
    from gateway.protocol.views import View
    from gateway.runtime.context import Context
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.stream_table import StreamTable
    from gateway.telemetry.metrics import Sample
    from gateway.telemetry.traffic import Traffic

    HostedFeed: TypeAlias = Feed[StreamState, Any]


class RenderedViews(Protocol):
    """The views of a route's streams in the dialects of clients."""

    def feed(self, state: StreamState, view: View, owner: HostedFeeds) -> HostedFeed:
        """Return a feed for the readers of a view, to which the stream's news are published."""

    def renew(self, settings: FeedSettings, max_response: float) -> None:
        """Follow new settings; a response lasts `max_response` seconds at most, 0 for no limit."""

    def feed_ended(self, feed: HostedFeed) -> None:
        """Take note that a feed is not used any more; it may be one of another view."""

    def changed(self, stream_id: int) -> None:
        """Drop what was rendered of a stream whose beginning has changed, or which is gone."""

    def clear(self) -> None:
        """Drop what was rendered of all streams."""

    def samples(self) -> Iterable[Sample]:
        """Return the metrics of the views."""


class LiveRead(NamedTuple):
    """A live read: its stream, the stream's present state, and the position where it begins.

    With `from_first` it begins at the first record, wherever that is.
    """

    active: ActiveStream
    state: StreamState
    start: int
    from_first: bool


def bytes_behind(feed: HostedFeed, offset: str) -> int:
    """Return the bytes from an offset to the tail of a feed's stream."""
    position = parse_offset(offset.removesuffix(END_MARK), "offset").position
    return max(0, feed.stream.tail - position)


class HostedFollower:
    """A listener that passes a stream's commits to its feeds, and reads those it missed.

    `feeds` are the feeds of the stream's live readers, one for each view that somebody reads. All
    have the news up to the offset `tail`.
    """

    def __init__(self, state: StreamState, table: StreamTable, reader: ChunkReader) -> None:
        self.feeds: dict[View, HostedFeed] = {}
        self.tail = state.offset(state.tail)
        self.stream = state  # with the news up to `tail`
        self.is_caught_up = True
        self._table = table
        self._reader = reader
        self._latest = state
        self._reading: asyncio.Task[None] | None = None

    def add(
        self, view: View, source: HostedFeedSource, owner: FeedOwner[StreamState, Record]
    ) -> HostedFeed:
        """Return a new feed for the readers of a view, with the news so far."""
        closed = self.is_caught_up and self.stream.closed
        pause_s = view.batch_ms / 1000
        feed = Feed(self.stream, self.tail, source, owner, closed=closed, pause_s=pause_s)
        feed.caught_up = self.is_caught_up
        self.feeds[view] = feed
        return feed

    def adopt(self, view: View, feed: HostedFeed) -> HostedFeed:
        """Pass the news to a feed that was made elsewhere, from the next on."""
        self.feeds[view] = feed
        return feed

    def remove(self, feed: HostedFeed) -> bool:
        """Remove a feed; return whether it was one of this follower."""
        view = next((view for view, it in self.feeds.items() if it is feed), None)
        return view is not None and self.feeds.pop(view) is feed

    @property
    def has_readers(self) -> bool:
        """True while a reader waits for the stream."""
        return any(feed.has_readers for feed in self.feeds.values())

    def traced(self, appends: Sequence[TraceContext]) -> None:
        """Attach these trace contexts to the rounds that deliver the appends."""
        for feed in self.feeds.values():
            if feed.trail is not None:
                feed.trail.add(appends)

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """Publish the stream's new state and records; read what lies between the feeds and them."""
        if state.soft_deleted:
            self._end(StreamGone("the stream was deleted; forks of it still use its data"))
            return
        if state.stream_id != self._latest.stream_id:
            self._end(StreamNotFound("the stream was deleted, and another one is at its path"))
            return
        self._latest = state
        if self._reading is not None:
            return  # the read under way reaches these records too
        begin = records[0].end - len(records[0].data) if records else state.tail
        if state.offset(begin) == self.tail:
            active, trace_id = self._table.peek(state.path), None
            if active is not None:  # the next notification may be another gateway's
                trace_id, active.trace_id = active.trace_id, None
            self._publish(state, state.offset(state.tail), records, trace_id=trace_id)
        else:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def _publish(
        self,
        state: StreamState,
        tail: str,
        records: Sequence[Record],
        *,
        caught_up: bool = True,
        trace_id: str | None = None,
    ) -> None:
        closed = caught_up and state.closed
        self.stream, self.tail, self.is_caught_up = state, tail, caught_up
        for feed in list(self.feeds.values()):  # it may remove itself
            feed.publish(
                state, tail, records, closed=closed, caught_up=caught_up, trace_id=trace_id
            )

    def ended(self) -> None:
        """Close the feeds because their stream was deleted."""
        self._end(StreamNotFound("the stream was deleted"))

    def _each(self, act: Callable[[HostedFeed], None]) -> None:
        """Call `act` with each feed; it may remove the feed."""
        for feed in list(self.feeds.values()):
            act(feed)

    def _end(self, reason: HeadgateError) -> None:
        self._each(lambda feed: feed.end(reason))

    def _suspend(self, reason: HeadgateError) -> None:
        """Let the readers wait until the stream has been loaded anew."""
        self._each(lambda feed: feed.suspend(reason))
        path = self.stream.path
        asyncio.get_running_loop().call_later(RELOAD_S, self._table.reload, path)

    async def _read(self) -> None:
        """Read from the log until the feeds are at the stream's tail."""
        try:
            while await self._read_on():
                pass
        except StreamNotFound:
            pass  # `ended` closes the feeds
        except StreamGone as gone:  # what is before the feeds' tail is lost
            self._each(partial(Feed.break_off, reason=gone))
        except BadRequest:
            pass  # the feeds are ahead: what was published is older than they
        except HeadgateError as error:
            self._suspend(error)
        except Exception:  # noqa: BLE001 - its readers would wait for what never comes
            log.exception("stream.not_read", path=self.stream.path)
            self._each(Feed.cut_off)
        finally:
            self._reading = None

    async def _read_on(self) -> bool:
        """Publish the next chunk; return whether more follows."""
        state = self._latest
        start = position_of(state, parse_offset(self.tail, "offset"))
        if start == state.tail:
            self._publish(state, self.tail, ())
            return False
        chunk = await self._reader.chunk(state, start)
        is_same = chunk.state.history == state.history and self.tail == state.offset(start)
        if not is_same or chunk.end == start:
            raise LogUnavailable("the log did not have what it told of")
        whole = chunk.end == self._latest.tail
        records = list(records_after(chunk.start, chunk.records))
        self._publish(self._latest, chunk.state.offset(chunk.end), records, caught_up=whole)
        return not whole


def feeds_of(active: ActiveStream) -> list[HostedFeed]:
    """Return the feeds of a stream's live readers in this process."""
    follower = active.follower
    return list(follower.feeds.values()) if isinstance(follower, HostedFollower) else []


class HostedFeeds:
    """The feeds of a route."""

    def __init__(
        self,
        table: StreamTable,
        readers: ChunkReaders,
        freshness: Freshness,
        settings: FeedSettings,
        shared: Context,
        traffic: Traffic,
    ) -> None:
        events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        rest = freshness, settings, shared, traffic, events
        # All that is cached of the route's streams.
        self.stores = shared.store, readers.folded.parts, events
        self.source = HostedFeedSource(readers.plain, *rest)
        self._folded_source = HostedFeedSource(readers.folded, *rest)
        self.views: RenderedViews | None = None  # set where the route is made
        self._table = table
        self.reader = readers.plain
        self._limits = shared.limits
        self._tracer = shared.tracer
        self._feeds: set[HostedFeed] = set()
        self._lingering: dict[HostedFeed, asyncio.TimerHandle] = {}
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """Number of feeds."""
        return len(self._feeds)

    def set_reader_keys(self, keys: ReaderKeys | None) -> None:
        """Use these keys in responses from now on."""
        for source in (self.source, self._folded_source):
            source.reader_keys = keys

    def _source_of(self, view: View) -> HostedFeedSource:
        return self._folded_source if view.is_folded else self.source

    @staticmethod
    def reaches(active: ActiveStream, position: str, view: View) -> bool:
        """Return whether the stream's feed can answer a poll from an offset before the tail."""
        follower = active.follower
        feed = follower.feeds.get(view) if isinstance(follower, HostedFollower) else None
        return feed is not None and feed.long_polls.reaches(position)

    def join(self, active: ActiveStream, state: StreamState, view: View) -> HostedFeed:
        """Return the stream's feed of a view, made for its first reader.

        Raises LimitReached at the limit of readers.
        """
        self._limits.reader_joins()
        try:
            return self._feed_of(active, state, view)
        except BaseException:
            self._limits.release_reader()
            raise

    def _feed_of(self, active: ActiveStream, state: StreamState, view: View) -> HostedFeed:
        follower = active.follower
        if not isinstance(follower, HostedFollower):
            follower = active.follower = HostedFollower(state, self._table, self.reader)
        found = follower.feeds.get(view)
        if found is not None:
            return found
        if view.is_rendered:
            assert self.views is not None, "set where the route is made"
            feed = follower.adopt(view, self.views.feed(follower.stream, view, self))
        else:
            feed = follower.add(view, self._source_of(view), self)
        if self._tracer is not None:
            feed.trail = self._tracer.trail(state.path)
        self._feeds.add(feed)
        self._none.clear()
        try:
            self._table.following.follow(active)
        except BaseException:
            self._end(feed)
            raise
        return feed

    async def prepare(self, read: LiveRead, view: View) -> LiveRead:
        """Read the first events while an error can still be sent as a status.

        The stream may have moved on meanwhile, and a feed must begin with it as it is now.
        """
        state, start, source = read.state, read.state.offset(read.start), self._source_of(view)
        if read.start == state.tail or source.cached_event(state, start) is not None:
            return read
        lost: StreamGone | None = None
        try:
            await source.read_event(state, start)
        except StreamGone as gone:
            lost = gone
        active = await self._table.load(state.path)
        now = self._table.present(active)
        if read.from_first and not begins_alike(now, state):
            return await self.prepare(LiveRead(active, now, now.first, from_first=True), view)
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

    def feed_empty(self, feed: HostedFeed) -> None:
        """Drop a feed without readers, or keep it for a while if many are expected back."""
        if not feed.expects_readers:
            self._end(feed)
        elif feed not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[feed] = loop.call_later(HERD_S, self._look_again, feed)

    def _look_again(self, feed: HostedFeed) -> None:
        """Drop a kept feed, unless it has readers again."""
        del self._lingering[feed]
        if not feed.has_readers:
            self.feed_empty(feed)

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
        if active is None or not isinstance(follower, HostedFollower):
            return
        if follower.remove(feed) and not follower.feeds:
            active.follower = None
            self._table.following.unfollow(active)

    def release_reader(self) -> None:
        """Count one live reader less."""
        self._limits.release_reader()
