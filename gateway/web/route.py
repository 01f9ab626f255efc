"""A route: a path prefix, the log behind it, and the reads and live feeds of its streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.cache.collapse import Collapse
from gateway.cache.store import Entry, Store
from gateway.errors import LimitReached, NotOffered, StreamGone, StreamNotFound
from gateway.live.feed import Feed
from gateway.protocol import caching, chunks, http1, responses, sse
from gateway.protocol.content import read_body
from gateway.protocol.offsets import NOW
from gateway.protocol.requests import Live, Read
from gateway.streams.appender import Appender
from gateway.streams.lifecycle import Lifecycle
from gateway.streams.table import StreamTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.backends.base import Log
    from gateway.live.host import FeedSettings
    from gateway.protocol.caching import Freshness
    from gateway.protocol.chunks import Chunk
    from gateway.protocol.responses import Response
    from gateway.protocol.state import Change, StreamState
    from gateway.streams.table import HotStream
    from gateway.web.shared import Shared


RESERVED = "__ds"  # first segment of the protocol's control paths (section 6)
EVENT_CHUNK_BYTES = 32 * 1024 * 1024
"""Rendered for SSE readers who catch up: they come close behind each other, or all at once."""


class LiveRead:
    """A live read that goes on: its stream, as it stands, and where in it the read begins."""

    __slots__ = ("hot", "start", "state")

    def __init__(self, hot: HotStream, state: StreamState, start: int) -> None:
        self.hot = hot
        self.state = state
        self.start = start


class Route:
    """Everything that serves the streams under one prefix."""

    def __init__(
        self,
        prefix: str,
        log: Log,
        freshness: Freshness,
        settings: FeedSettings,
        shared: Shared,
    ) -> None:
        self.prefix = prefix
        self.freshness = freshness
        self.settings = settings
        self._shared = shared
        self.clock = shared.clock
        self.table = StreamTable(log, shared.clock, self._changed)
        self.appender = Appender(self.table, shared.limits.max_pending_appends)
        self.lifecycle = Lifecycle(self.table)
        self._reads: Collapse[Chunk] = Collapse()
        self._answers: Collapse[Entry] = Collapse()  # read and rendered once for all who wait
        self._events = Store(EVENT_CHUNK_BYTES)
        self._feeds: set[Feed] = set()
        self._no_feeds = asyncio.Event()
        self._no_feeds.set()

    def _changed(self, change: Change) -> None:
        self._shared.store.changed(change)
        self._events.changed(change)

    # Reads

    async def read(
        self, read: Read, name: str, if_none_match: str | None
    ) -> Entry | Response | LiveRead:
        """The answer, or LiveRead for a long-poll that is at the tail and for SSE."""
        entry = self._shared.store.get(read.target, self.clock())
        if entry is not None:
            return self._conditional(entry, if_none_match)
        hot = await self.table.load(name)
        state = self.table.present(hot)
        self.table.touch(hot)
        start = chunks.start_position(state, read.offset)
        if read.live is Live.SSE:
            return LiveRead(hot, state, start)
        if start == state.tail and read.live is Live.LONG_POLL:
            if state.closed:
                return responses.poll_ended(state, read, self.clock())
            return LiveRead(hot, state, start)
        if read.offset == NOW:
            return responses.tail(state, read, self.clock())
        entry = await self._answers.read(
            (read.target, state.stream_id, state.version), lambda: self._answer(read, state, start)
        )
        return self._conditional(entry, if_none_match)

    async def _answer(self, read: Read, state: StreamState, start: int) -> Entry:
        chunk = chunks.empty(state) if start == state.tail else await self._chunk(state, start)
        return self._render(read, chunk)

    def _conditional(self, entry: Entry, if_none_match: str | None) -> Entry | Response:
        if if_none_match is not None and caching.matches(if_none_match, entry.etag):
            return responses.Response(304, entry.fields)
        return entry

    def _render(self, read: Read, chunk: Chunk) -> Entry:
        """The answer as bytes, and kept for the next who asks."""
        state = chunk.state
        response = responses.data(chunk, read, self.freshness, self.clock())
        until = self._same_until(state)
        entry = Entry(
            read.target,
            state.stream_id,
            http1.rest(response),
            fields=response.fields,
            etag=caching.etag(state, chunk.start, chunk.end, closed=chunk.closed),
            expires_at=until,
        )
        if until is None or self.clock() < until:
            # A whole chunk at the tail says that it is up to date, which an append changes too.
            until_change = chunk.at_tail or not chunk.complete
            self._keep(self._shared.store, entry, chunk, until_change=until_change)
        return entry

    def _same_until(self, state: StreamState) -> float | None:
        """Until when an answer stays as it is, whatever the clock says; None for always."""
        if state.lifetime.ttl_s is not None:
            return 0.0  # each read must come to the stream, to restart its countdown
        if state.lifetime.expires_at is None:
            return None
        return caching.unshortened_until(self.freshness, state.lifetime.expires_at)

    def _keep(self, store: Store, entry: Entry, chunk: Chunk, *, until_change: bool) -> None:
        """Store what is still how the stream stands; `until_change` when an append makes it old."""
        hot = self.table.peek(chunk.state.path)
        if hot is None or hot.state is None or hot.state.stream_id != chunk.state.stream_id:
            return
        if not until_change or hot.state.version == chunk.state.version:
            store.put(entry, at_tail=until_change)

    async def _chunk(self, state: StreamState, start: int) -> Chunk:
        """Equal reads share one; the version keeps a read from joining one older than itself.

        The log may be ahead of the table by commits that are about to be applied. They are left
        out: a reader who saw them could come back with an offset that the table does not know.
        """
        key = (state.stream_id, start, state.version)
        chunk = await self._reads.read(
            key, lambda: self.table.log.read(state, start, chunks.boundary(start))
        )
        hot = self.table.peek(state.path)
        known = hot.state if hot is not None else None
        if known is None or known.stream_id != chunk.state.stream_id:
            return chunk
        return chunks.no_newer_than(chunk, known) if known.version < chunk.state.version else chunk

    async def prepare_events(self, at: LiveRead) -> LiveRead:
        """Have the first events at hand, while an error still has a status to be told by.

        The stream may have moved on meanwhile, and a feed must begin with it as it is now.
        """
        if at.start == at.state.tail or self.cached_events(at.state, at.start) is not None:
            return at
        await self.read_events(at.state, at.start)
        hot = await self.table.load(at.state.path)
        state = self.table.present(hot)
        if state.stream_id != at.state.stream_id:
            raise StreamGone("the stream was deleted, and another one is at its path now")
        return LiveRead(hot, state, at.start)

    def cached_events(self, state: StreamState, start: int) -> tuple[bytes, int] | None:
        """The data event of the chunk at `start` and where the chunk ends, when it is at hand."""
        entry = self._events.get((state.stream_id, start), self.clock())
        return None if entry is None else (entry.rest, entry.end)

    async def read_events(self, state: StreamState, start: int) -> tuple[bytes, int]:
        """The same, from the log."""
        entry = await self._answers.read(
            (state.stream_id, start, state.version), lambda: self._event(state, start)
        )
        return entry.rest, entry.end

    async def _event(self, state: StreamState, start: int) -> Entry:
        chunk = await self._chunk(state, start)
        body = read_body(state.content_type, chunk.records)
        event = sse.data_event(state.content_type, body)
        entry = Entry((state.stream_id, start), state.stream_id, event)
        entry.end = chunk.end
        self._keep(self._events, entry, chunk, until_change=not chunk.complete)
        return entry

    # Live readers

    def feed(self, hot: HotStream, state: StreamState) -> Feed:
        """The stream's feed, made when somebody begins to watch; raises at the readers' limit."""
        limits = self._shared.limits
        if limits.readers_full:
            limits.live_readers_refused += 1
            raise LimitReached("max_live_readers is reached: too many readers wait already")
        limits.live_readers += 1
        if isinstance(hot.follower, Feed):
            return hot.follower
        feed = Feed(state, self)
        hot.follower = feed
        self._feeds.add(feed)
        self._no_feeds.clear()
        return feed

    def feed_empty(self, feed: Feed) -> None:
        """Nobody reads the feed any more."""
        self._feeds.discard(feed)
        if not self._feeds:
            self._no_feeds.set()
        hot = self.table.peek(feed.state.path)
        if hot is not None and hot.follower is feed:
            hot.follower = None

    def reader_left(self) -> None:
        """One live reader fewer."""
        self._shared.limits.live_readers -= 1

    def wire(self, response: Response) -> bytes:
        """A response as the bytes that keep-alive connections share."""
        return http1.serialize(response, self._shared.lines.shared())

    async def drain(self) -> None:
        """Let every live reader go, and wait until they have and no append is under way."""
        for feed in list(self._feeds):
            feed.drain()
        await self._no_feeds.wait()
        await self.appender.idle.wait()


class Routes:
    """Routes by prefix, the longest first."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.prefix))
        self._shown = [f"{route.prefix}/" for route in self._routes]

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def find(self, path: str) -> tuple[Route, str]:
        """The route of a canonical path, and the stream's name in it; raises when there is none."""
        for route in self._routes:
            begin = len(route.prefix)
            if path.startswith(route.prefix) and path[begin : begin + 1] == "/":
                name = path[begin + 1 :]
                if name.split("/", 1)[0] == RESERVED:
                    raise NotOffered("subscriptions are not offered by this server")
                return route, name
        raise StreamNotFound(f"streams are below {' and '.join(self._shown)}")
