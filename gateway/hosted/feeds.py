"""The live readers of an own log's streams: one feed a stream, fed by its commits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import StreamGone
from gateway.hosted.follower import HostedFollower
from gateway.live.feed import Feed
from gateway.streams.versions import begins_alike

if TYPE_CHECKING:
    from gateway.hosted.chunk_reader import ChunkReader
    from gateway.hosted.feed_source import HostedFeedSource
    from gateway.protocol.state import Record, StreamState
    from gateway.runtime.limits import Limits
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.stream_table import StreamTable


class LiveRead(NamedTuple):
    """A live read that goes on: its stream, as it stands, and where in it the read begins.

    With `from_first` it is wherever the stream begins.
    """

    active: ActiveStream
    state: StreamState
    start: int
    from_first: bool


class HostedFeeds:
    """The feeds of a route."""

    def __init__(
        self,
        table: StreamTable,
        reader: ChunkReader,
        source: HostedFeedSource,
        limits: Limits,
    ) -> None:
        self._table = table
        self._reader = reader
        self._source = source
        self._limits = limits
        self._feeds: set[Feed[StreamState, Record]] = set()
        self._none = asyncio.Event()
        self._none.set()

    def join(self, active: ActiveStream, state: StreamState) -> Feed[StreamState, Record]:
        """The stream's feed, made for the first reader; raises at the readers' limit."""
        self._limits.reader_joins()
        try:
            return self._feed_of(active, state)
        except BaseException:
            self._limits.reader_left()
            raise

    def _feed_of(self, active: ActiveStream, state: StreamState) -> Feed[StreamState, Record]:
        if isinstance(active.follower, HostedFollower):
            return active.follower.feed
        feed: Feed[StreamState, Record] = Feed(
            state, state.offset(state.tail), self._source, self, closed=state.closed
        )
        active.follower = HostedFollower(feed, self._table, self._reader)
        self._feeds.add(feed)
        self._none.clear()
        try:
            self._table.follow(active)
        except BaseException:
            self.feed_empty(feed)
            raise
        return feed

    async def prepare(self, read: LiveRead) -> LiveRead:
        """Have the first events at hand, while an error still has a status to be told by.

        The stream may have moved on meanwhile, and a feed must begin with it as it is now.
        """
        state, start = read.state, read.state.offset(read.start)
        if read.start == state.tail or self._source.cached_event(state, start) is not None:
            return read
        lost: StreamGone | None = None
        try:
            await self._source.read_event(state, start)
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
        """Let every live reader go, and wait until they have."""
        for feed in list(self._feeds):
            feed.drain()
        await self._none.wait()

    def feed_empty(self, feed: Feed[StreamState, Record]) -> None:
        """Nobody reads the feed any more."""
        self._feeds.discard(feed)
        if not self._feeds:
            self._none.set()
        active = self._table.peek(feed.stream.path)
        if (
            active is not None
            and isinstance(active.follower, HostedFollower)
            and active.follower.feed is feed
        ):
            active.follower = None
            self._table.unfollow(active)

    def reader_left(self) -> None:
        """One live reader fewer."""
        self._limits.reader_left()
