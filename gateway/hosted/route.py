"""A route to an own log: the operations on its streams, and the answers to reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.rendered import RenderedChunk, drop, groups
from gateway.cache.single_flight import SingleFlight
from gateway.errors import BadRequest, NotOffered, StreamNotFound
from gateway.hosted.chunk_reader import ChunkReader
from gateway.hosted.feeds import HostedFeeds, LiveRead
from gateway.protocol import cache_headers, cache_status, chunks, cursors, http1, responses
from gateway.protocol.offsets import NOW
from gateway.protocol.requests import Events, LongPoll
from gateway.runtime.answer import Answered
from gateway.streams.appender import Appender
from gateway.streams.lifecycle import Lifecycle
from gateway.streams.stream_table import StreamTable

if TYPE_CHECKING:
    from gateway.backends.contract import Log
    from gateway.cache.store import Store
    from gateway.live.contract import FeedSettings
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.chunks import Chunk
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.retention import Retention
    from gateway.protocol.state import StreamState
    from gateway.runtime.context import Context

RESERVED = "__ds"  # first segment of the protocol's control paths (section 6)
# A whole chunk never changes, and a removal is told; but whoever deletes keys tells nobody.
SURE_S = 10.0


class HostedRoute:
    """Everything that serves the streams of one log, under one prefix."""

    def __init__(
        self,
        prefix: str,
        log: Log,
        freshness: Freshness,
        retention: Retention,
        settings: FeedSettings,
        shared: Context,
    ) -> None:
        self.prefix = prefix
        self.freshness = freshness
        self._shared = shared
        self._store: Store[RenderedChunk] = shared.store  # under targets
        self.clock = shared.clock
        self._trims = bool(retention)
        self.table = StreamTable(log, shared.clock, self)
        self.appender = Appender(self.table, shared.limits.max_pending_appends, retention)
        self.lifecycle = Lifecycle(self.table, retention)
        # Read and rendered once for all who wait.
        self._answers: SingleFlight[RenderedChunk] = SingleFlight()
        self.reader = ChunkReader(self.table)
        self.feeds = HostedFeeds(self.table, self.reader, freshness, settings, shared)

    def checked(self, name: str) -> str:
        """The name of a stream; raises for one that the protocol keeps for itself."""
        if not name:
            raise StreamNotFound(f"a stream has a name: {self.prefix}/NAME")
        if name.endswith("/"):
            raise BadRequest("the path has an empty segment")
        if name.split("/", 1)[0] == RESERVED:
            raise NotOffered("subscriptions are not offered by this server")
        return name

    # Caches

    def changed(self, stream_id: int, *, whole: bool) -> None:
        """Forget what is no longer so: what reached the tail, or with `whole` everything."""
        drop(self._store, stream_id, whole=whole)
        drop(self.feeds.source.events, stream_id, whole=whole)

    def clear(self) -> None:
        """Forget everything, of other routes too: a log seldom loses what it acknowledged."""
        self._store.clear()
        self.feeds.source.events.clear()

    # Reading

    async def read(self, read: Read, name: str, if_none_match: str | None) -> Answered | LiveRead:
        """The answer, or LiveRead for a long-poll that is at the tail and for SSE."""
        now = self.clock()
        entry = self._store.get(read.target, now)
        if entry is not None and entry.confirm_after <= now:
            entry = await self._confirmed(read, name)
        if entry is not None:
            self._store.hit(entry)
            return Answered(_conditional(entry, if_none_match), cache_status.hit(entry.hits))
        self._store.misses += 1
        active = await self.table.load(name)
        state = self.table.present(active)
        self.table.deadlines.touch(active)
        start = chunks.start_position(state, read.offset)
        if isinstance(read, Events):
            return LiveRead(active, state, start, read.offset is None)
        if start == state.tail and isinstance(read, LongPoll):
            if state.closed:
                ended = responses.poll_ended(state, read, self.clock())
                return Answered(ended, cache_status.MISS)
            return LiveRead(active, state, start, read.offset is None)
        if read.offset == NOW:
            return Answered(responses.tail(state, read, self.clock()), cache_status.BYPASS)
        key = (read.target, state.stream_id, state.version, state.history)
        shares = key in self._answers
        entry = await self._answers.read(key, lambda: self._answer(read, state, start))
        cache = cache_status.COLLAPSED if shares else cache_status.MISS
        return Answered(_conditional(entry, if_none_match), cache)

    async def _confirmed(self, read: Read, name: str) -> RenderedChunk | None:
        """The kept answer, if it is still what the log would give."""
        active = await self.table.load(name)  # drops what has become old
        state = self.table.present(active)
        now = self.clock()
        entry = self._store.get(read.target, now)
        if entry is not None and not entry.is_of(state):
            return None  # taken away by other hands than a gateway's, and begun anew
        if entry is not None:
            entry.confirm_after = now + entry.sure_s
        return entry

    async def _answer(self, read: Read, state: StreamState, start: int) -> RenderedChunk:
        at_tail = start == state.tail
        chunk = chunks.empty(state) if at_tail else await self.reader.chunk_for(read, state, start)
        return self._render(read, chunk)

    def _render(self, read: Read, chunk: Chunk) -> RenderedChunk:
        """The answer as bytes, and kept for the next who asks."""
        state = chunk.state
        now = self.clock()
        response = responses.data(chunk, read, self.freshness, now)
        until = _same_until(state, read, now)
        # A whole chunk at the tail says that it is up to date, which an append changes too.
        until_change = chunk.at_tail or not chunk.complete
        entry = RenderedChunk(
            read.target,
            groups(state, until_change=until_change),
            http1.rest(response),
            fields=response.fields,
            etag=cache_headers.etag(chunk),
            expires_at=until,
        )
        if self.table.log.shared:
            trims = self._trims or state.marks or state.first  # here, or by another gateway
            entry.sure_s = 0.0 if until_change or trims else SURE_S
            entry.confirm_after = self.clock() + entry.sure_s
        is_current = self.reader.is_current(chunk, until_change=until_change)
        if is_current and (until is None or self.clock() < until):
            self._store.put(entry)
        return entry

    async def drain(self) -> None:
        """Let every live reader go, and wait until they have and no append is under way."""
        await self.feeds.drain()
        await self.appender.idle.wait()


def _same_until(state: StreamState, read: Read, now: float) -> float | None:
    """Until when an answer stays as it is, whatever the clock says; None for always."""
    if state.lifetime.ttl_s is not None:
        return 0.0  # each read must come to the stream, to restart its countdown
    ends = [] if state.deadline is None else [responses.same_until(state, now)]
    if isinstance(read, LongPoll) and read.cursor is not None:
        ends.append(cursors.same_until(read.cursor, now))
    return min(ends, default=None)


def _conditional(entry: RenderedChunk, if_none_match: str | None) -> RenderedChunk | Response:
    if if_none_match is not None and cache_headers.matches(if_none_match, entry.etag):
        return responses.Response(304, entry.fields)
    return entry
