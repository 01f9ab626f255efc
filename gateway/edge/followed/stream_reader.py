"""Reads of an origin's streams through the cache, for live readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.followed.snapshots import is_coded, snapshot_of
from gateway.edge.polls.follower import LONGEST_READ, CannotFollow, refuse
from gateway.edge.polls.reader_requests import DENIALS, ONES_OWN, ReaderRequests
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.errors import OriginBroken, OriginBusy, StreamGone
from gateway.live.event_chunks import EVENT_CHUNK_BYTES, EventChunk
from gateway.protocol.origins import followed
from gateway.protocol.streams.offsets import NOW
from gateway.runtime.single_flight import SingleFlight
from gateway.store import Store

if TYPE_CHECKING:
    from gateway.edge.reads.cache_result import CacheResult
    from gateway.edge.reads.http_cache import HttpCache
    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.protocol.origins.followed import Snapshot
    from gateway.protocol.origins.repair import StreamRead
    from gateway.protocol.streams.reach import TailBound


class StreamReader:
    """The reads of a route's streams; `events` has the data events rendered from cached responses.

    `forgotten` counts the times that something was dropped: the result of a read that was sent
    before the last time may be outdated.
    """

    def __init__(self, cache: HttpCache) -> None:
        self._cache = cache
        self._tails: SingleFlight[Snapshot] = SingleFlight()
        self.events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self.forgotten = 0

    def forget(self, path: str) -> None:
        """Drop all responses and events of a path: its stream was changed, or replaced."""
        self.forgotten += 1
        self._cache.forget(path)
        self.events.drop(path)

    def forget_all(self) -> None:
        """Outdate all fetches under way, and drop every event; the caller drops the responses."""
        self.forgotten += 1
        self._cache.fetches.outdate_all()
        self.events.clear()

    def distrust(self, path: str) -> None:
        """Drop events made from an answer that may belong to another request."""
        self.forgotten += 1
        self.events.drop(path)

    def drop_cached_tail(self, path: str) -> None:
        """Drop cached responses that reached the tail of a stream, because it is further by now."""
        self._cache.responses.drop_tail(path)

    def drop_tail(self, path: str, reach: TailBound) -> None:
        """Drop responses that reached the old tail of a stream that has grown or was closed."""
        self._cache.moved(path, reach)

    async def catch_up(self, request: CacheRequest, offset: str) -> CacheResult:
        """Return a whole response to a read from an offset, cached or fetched."""
        result = await self._cache.read(request.elsewhere(offset), LONGEST_READ)
        cached = result.cached
        if is_coded(cached):
            raise OriginBroken("the origin compresses what it was asked to leave as it is")
        if cached.facts is None and cached.status == 200 and cached.said.next_offset:
            raise OriginBroken("the origin's offsets have characters that cannot be passed on")
        return result

    async def read_on(
        self, lenders: ReaderRequests, content_type: str, start: str
    ) -> tuple[CacheResult, StreamRead]:
        """Return the response with a followed stream's data after an offset.

        A cached response of another type is of an earlier stream: then the origin is asked. Raises
        StreamGone if the origin has a stream of another type.
        """
        for _ in range(2):
            result, facts = await self._read(lenders, start)
            if followed.is_of_type(facts.content_type, content_type):
                return result, facts
            self.forget(lenders.request.path)
        raise StreamGone(ANOTHER_STREAM)

    async def tail(self, request: CacheRequest) -> Snapshot:
        """Return the stream as it ends at the origin now; equal calls share one request."""
        key = (request.elsewhere(NOW).fetch_key, self.forgotten)
        return await self._tails.read(key, lambda: self._tail(request))

    async def _tail(self, request: CacheRequest) -> Snapshot:
        result, facts = await self._read(ReaderRequests(request), NOW)
        return snapshot_of(request, result, facts)

    async def _read(self, lenders: ReaderRequests, offset: str) -> tuple[CacheResult, StreamRead]:
        """Return the response for all readers of a stream, read with the credentials of one."""
        request = lenders.request
        result = await self.catch_up(request, offset)
        while result.cached.status in DENIALS and lenders.replace(request):
            request = lenders.request
            result = await self.catch_up(request, offset)
        facts = result.cached.facts
        if facts is not None and result.cached.is_ones_own:
            lenders.are_apart = True
            raise OriginBusy(ONES_OWN)
        if facts is None:
            try:
                refuse(result.cached.status, result.cached.said.again_s)
            except CannotFollow as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return result, facts
