"""The live readers of an own log's streams: one feed a stream, fed by its commits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import BadRequest, HeadgateError, LogUnavailable, StreamGone, StreamNotFound
from gateway.hosted.feed_source import HostedFeedSource
from gateway.live.feed import Feed
from gateway.live.long_polls import HERD_S
from gateway.protocol.streams.generations import position_of
from gateway.protocol.streams.offsets import parse_offset
from gateway.protocol.streams.state import Record
from gateway.streams.reload_queue import RELOAD_S
from gateway.streams.versions import begins_alike
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.hosted.chunk_reader import ChunkReader
    from gateway.live.contract import FeedSettings
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.http.trace_context import TraceContext
    from gateway.protocol.streams.state import StreamState
    from gateway.runtime.context import Context
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.stream_table import StreamTable
    from gateway.telemetry.traffic import Traffic


class LiveRead(NamedTuple):
    """A live read: its stream, the stream's present state, and the position where it begins.

    With `from_first` it begins at the first record, wherever that is.
    """

    active: ActiveStream
    state: StreamState
    start: int
    from_first: bool


def bytes_behind(feed: Feed[StreamState, Record], offset: str) -> int:
    """Return the bytes from an offset to the tail of a feed's stream."""
    return max(0, feed.stream.tail - parse_offset(offset, "offset").position)


class HostedFollower:
    """A listener that passes a stream's commits to its feed, and reads those it missed."""

    def __init__(
        self, feed: Feed[StreamState, Record], table: StreamTable, reader: ChunkReader
    ) -> None:
        self.feed = feed
        self._table = table
        self._reader = reader
        self._latest = feed.stream
        self._reading: asyncio.Task[None] | None = None

    @property
    def has_readers(self) -> bool:
        """True while a reader waits for the stream."""
        return self.feed.has_readers

    def traced(self, appends: Sequence[TraceContext]) -> None:
        """Attach these trace contexts to the round that delivers the appends."""
        if self.feed.trail is not None:
            self.feed.trail.add(appends)

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """Publish the stream's new state and records; read what lies between the feed and them."""
        if state.soft_deleted:
            self.feed.end(StreamGone("the stream was deleted; forks of it still use its data"))
            return
        if state.stream_id != self._latest.stream_id:
            self.feed.end(StreamNotFound("the stream was deleted, and another one is at its path"))
            return
        self._latest = state
        if self._reading is not None:
            return  # the read under way reaches these records too
        begin = records[0].end - len(records[0].data) if records else state.tail
        if state.offset(begin) == self.feed.tail:
            tail = state.offset(state.tail)
            active, trace_id = self._table.peek(state.path), None
            if active is not None:  # the next notification may be another gateway's
                trace_id, active.trace_id = active.trace_id, None
            self.feed.publish(state, tail, records, closed=state.closed, trace_id=trace_id)
        else:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def ended(self) -> None:
        """Close the feed because its stream was deleted."""
        self.feed.end(StreamNotFound("the stream was deleted"))

    async def _read(self) -> None:
        """Read from the log until the feed is at the stream's tail."""
        try:
            while await self._read_on():
                pass
        except StreamNotFound:
            pass  # `ended` closes the feed
        except StreamGone as gone:  # what is before the feed's tail is lost
            self.feed.break_off(gone)
        except BadRequest:
            pass  # the feed is ahead: what was published is older than it
        except HeadgateError as error:
            self.feed.suspend(error)
            path = self.feed.stream.path
            asyncio.get_running_loop().call_later(RELOAD_S, self._table.reload, path)
        except Exception:  # noqa: BLE001 - its readers would wait for what never comes
            log.exception("stream.not_read", path=self.feed.stream.path)
            self.feed.cut_off()
        finally:
            self._reading = None

    async def _read_on(self) -> bool:
        """Publish the next chunk; return whether more follows."""
        state = self._latest
        start = position_of(state, parse_offset(self.feed.tail, "offset"))
        if start == state.tail:
            self.feed.publish(state, self.feed.tail, (), closed=state.closed)
            return False
        chunk = await self._reader.chunk(state, start)
        is_same = chunk.state.history == state.history and self.feed.tail == state.offset(start)
        if not is_same or chunk.end == start:
            raise LogUnavailable("the log did not have what it told of")
        records = []
        position = start
        for data in chunk.records:
            position += len(data)
            records.append(Record(position, data))
        whole = chunk.end == self._latest.tail
        self.feed.publish(
            self._latest,
            chunk.state.offset(chunk.end),
            records,
            closed=whole and self._latest.closed,
            caught_up=whole,
        )
        return not whole


def feed_of(active: ActiveStream) -> Feed[StreamState, Record] | None:
    """Return the feed of a stream's live readers in this process; None if it has had none."""
    follower = active.follower
    return follower.feed if isinstance(follower, HostedFollower) else None


class HostedFeeds:
    """The feeds of a route."""

    def __init__(
        self,
        table: StreamTable,
        reader: ChunkReader,
        freshness: Freshness,
        settings: FeedSettings,
        shared: Context,
        traffic: Traffic,
    ) -> None:
        self.source = HostedFeedSource(table, reader, freshness, settings, shared, traffic)
        self._table = table
        self._reader = reader
        self._limits = shared.limits
        self._tracer = shared.tracer
        self._feeds: set[Feed[StreamState, Record]] = set()
        self._lingering: dict[Feed[StreamState, Record], asyncio.TimerHandle] = {}
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """Number of feeds."""
        return len(self._feeds)

    @staticmethod
    def reaches(active: ActiveStream, position: str) -> bool:
        """Return whether the stream's feed can answer a poll from an offset before the tail."""
        follower = active.follower
        return isinstance(follower, HostedFollower) and follower.feed.long_polls.reaches(position)

    def join(self, active: ActiveStream, state: StreamState) -> Feed[StreamState, Record]:
        """Return the stream's feed, made for the first reader; raises at the readers' limit."""
        self._limits.reader_joins()
        try:
            return self._feed_of(active, state)
        except BaseException:
            self._limits.release_reader()
            raise

    def _feed_of(self, active: ActiveStream, state: StreamState) -> Feed[StreamState, Record]:
        if isinstance(active.follower, HostedFollower):
            return active.follower.feed
        feed: Feed[StreamState, Record] = Feed(
            state, state.offset(state.tail), self.source, self, closed=state.closed
        )
        if self._tracer is not None:
            feed.trail = self._tracer.trail(state.path)
        active.follower = HostedFollower(feed, self._table, self._reader)
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
        state, start = read.state, read.state.offset(read.start)
        if read.start == state.tail or self.source.cached_event(state, start) is not None:
            return read
        lost: StreamGone | None = None
        try:
            await self.source.read_event(state, start)
        except StreamGone as gone:
            lost = gone
        active = await self._table.load(state.path)
        now = self._table.present(active)
        if read.from_first and not begins_alike(now, state):
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

    def feed_empty(self, feed: Feed[StreamState, Record]) -> None:
        """Drop a feed without readers, or keep it for a while if many are expected back."""
        if not feed.expects_readers:
            self._end(feed)
        elif feed not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[feed] = loop.call_later(HERD_S, self._look_again, feed)

    def _look_again(self, feed: Feed[StreamState, Record]) -> None:
        """Drop a kept feed, unless it has readers again."""
        del self._lingering[feed]
        if not feed.has_readers:
            self.feed_empty(feed)

    def _end(self, feed: Feed[StreamState, Record]) -> None:
        timer = self._lingering.pop(feed, None)
        if timer is not None:
            timer.cancel()
        self._feeds.discard(feed)
        if not self._feeds:
            self._none.set()
        self._detach(feed)

    def _detach(self, feed: Feed[StreamState, Record]) -> None:
        """Send the feed no more news; the stream's next reader gets another one."""
        active = self._table.peek(feed.stream.path)
        if (
            active is not None
            and isinstance(active.follower, HostedFollower)
            and active.follower.feed is feed
        ):
            active.follower = None
            self._table.following.unfollow(active)

    def release_reader(self) -> None:
        """Count one live reader less."""
        self._limits.release_reader()
