"""Reads streams of an origin through the cache, for those who follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.fetches.single_flight import SingleFlight
from gateway.cache.rendered import EVENT_CHUNK_BYTES, EventChunk
from gateway.cache.rules.replica_lag import ANOTHER_STREAM
from gateway.cache.store import Store
from gateway.edge.followed.follower import CannotFollow, refuse
from gateway.edge.followed.lenders import DENIALS, Lenders
from gateway.edge.followed.snapshots import LONGEST_READ, ONES_OWN, is_coded, snapshot_of
from gateway.errors import OriginBroken, OriginBusy, StreamGone
from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.protocol.origins import followed
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from gateway.cache.cache_result import CacheResult
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.rules.cached_response import CacheRequest
    from gateway.protocol.origins.followed import Snapshot
    from gateway.protocol.origins.repair import StreamRead
    from gateway.protocol.streams.reach import Reach


class StreamReader:
    """Reads a route's streams; `events` are the data events that are kept of what was read.

    `forgotten` counts the times that something was: what was asked for before the last one may be
    of the past.
    """

    def __init__(self, cache: HttpCache) -> None:
        self._cache = cache
        self._tails: SingleFlight[Snapshot] = SingleFlight()
        self.events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self.forgotten = 0

    def forget(self, path: str) -> None:
        """A write may have changed everything at a path, or the stream there is another one."""
        self.forgotten += 1
        self._cache.forget(path)
        self.events.drop(path)

    def forget_all(self) -> None:
        """Outdate all fetches under way, and drop every event; the caller drops cached answers."""
        self.forgotten += 1
        self._cache.fetches.outdate_all()
        self.events.clear()

    def distrust(self, path: str) -> None:
        """Drop events made of an answer that may be another request's."""
        self.forgotten += 1
        self.events.drop(path)

    def moved(self, path: str, reach: Reach) -> None:
        """A stream has grown, or was closed: what is kept of its old tail is old."""
        self._cache.moved(path, reach)

    async def catch_up(self, request: CacheRequest, offset: str) -> CacheResult:
        """A whole answer to a read from an offset, kept or fetched."""
        result = await self._cache.read(request.elsewhere(offset), LONGEST_READ)
        cached = result.cached
        if is_coded(cached):
            raise OriginBroken("the origin compresses what it was asked to leave as it is")
        if cached.facts is None and cached.status == 200 and NEXT_OFFSET in cached.fields():
            raise OriginBroken("the origin's offsets have characters that cannot be passed on")
        return result

    async def read_on(
        self, lenders: Lenders, content_type: str, start: str
    ) -> tuple[CacheResult, StreamRead]:
        """What a followed stream has after an offset. Raises StreamGone when another one is there.

        A copy of another type is of a stream before it: then the origin is asked.
        """
        for _ in range(2):
            result, facts = await self._read(lenders, start)
            if followed.is_of_type(facts.content_type, content_type):
                return result, facts
            self.forget(lenders.request.path)
        raise StreamGone(ANOTHER_STREAM)

    async def tail(self, request: CacheRequest) -> Snapshot:
        """The stream as it ends now, from the origin itself; asked once for all who want it."""
        key = (request.elsewhere(NOW).fetch_key, self.forgotten)
        return await self._tails.read(key, lambda: self._tail(request))

    async def _tail(self, request: CacheRequest) -> Snapshot:
        result, facts = await self._read(Lenders(request), NOW)
        return snapshot_of(request, NOW, result, facts)

    async def _read(self, lenders: Lenders, offset: str) -> tuple[CacheResult, StreamRead]:
        """What readers who share a stream are given, in the name of one of them."""
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
                refuse(result.cached.status, result.cached.fields())
            except CannotFollow as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return result, facts
