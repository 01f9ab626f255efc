"""Reads of an origin's streams through the cache, for live readers and with their credentials."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.edge.followed.follower import LONGEST_READ, CannotFollow, refuse
from gateway.edge.followed.snapshots import is_coded, snapshot_of
from gateway.edge.rules.hit_for_pass import HitForPass
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.errors import OriginBroken, OriginBusy, StreamGone
from gateway.live.event_chunks import EVENT_CHUNK_BYTES, EventChunk
from gateway.protocol.origins import followed
from gateway.protocol.streams.offsets import NOW
from gateway.runtime.single_flight import SingleFlight
from gateway.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.edge.reads.http_cache import CacheResult, HttpCache
    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.protocol.origins.followed import Snapshot
    from gateway.protocol.origins.repair import StreamRead
    from gateway.protocol.streams.reach import TailBound

# Requests; a stream is requested with each of them before it counts as gone.
MOST = 8
# Statuses that may refuse one reader, and not the next.
DENIALS = frozenset({401, 403, 404, 410})
# Sent to readers that shared a stream: each that asks again gets its own data from the origin.
ONES_OWN = "the origin says that this is for one reader alone: ask again"


class ReaderRequests:
    """The requests that a stream can be read with: the present one, and those of later readers.

    All of them ask for the same stream, each with another reader's credentials. Beyond MOST the
    oldest is dropped. The request of a reader that has left is kept while others read the stream. A
    stream that is one reader's own has a single request.
    """

    def __init__(self, request: CacheRequest) -> None:
        self.current = request
        self.differ = False  # the origin has other data for each of them
        self._others: OrderedDict[str, CacheRequest] = OrderedDict()

    def add(self, request: CacheRequest) -> None:
        """Add the request of a reader that was just admitted: its credentials last the longest."""
        name = request.admitted_as
        if not name or not self.current.admitted_as:
            return
        if name == self.current.admitted_as:
            self.current = request
            return
        self._others[name] = request
        self._others.move_to_end(name)
        if len(self._others) >= MOST:
            self._others.popitem(last=False)

    def replace(self, refused: CacheRequest) -> bool:
        """Use another reader's request in place of a refused one; return False if there is none."""
        name = refused.admitted_as
        if not name:
            return False
        if name != self.current.admitted_as:
            self._others.pop(name, None)
            return True  # it was replaced before
        if not self._others:
            return False
        _, self.current = self._others.popitem()
        return True


class OriginReads:
    """The reads of a route's streams; `events` has the data events rendered from cached responses.

    `forgotten` counts the times that something was dropped: the result of a read that was sent
    before the last time may be outdated.
    """

    def __init__(self, cache: HttpCache, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._tails: SingleFlight[Snapshot] = SingleFlight()
        self._private = HitForPass(clock)  # keys of streams of which each reader gets other data
        self.events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self.forgotten = 0

    # What is outdated

    def forget(self, path: str) -> None:
        """Drop all responses and events of a path: its stream was changed, or replaced."""
        self._cache.forget(path)
        self.distrust(path)

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

    # Streams that cannot be shared

    def unshare(self, key: Hashable) -> None:
        """Note that the origin has data of a stream for one reader alone."""
        self._private.add(key)

    def keyed(self, request: CacheRequest) -> CacheRequest:
        """Return a reader's request, under its own key if the origin has other data for each."""
        if request.admitted_as and request.stream_key in self._private:
            return request.apart()
        return request

    def keyed_after(self, request: CacheRequest, result: CacheResult) -> CacheRequest:
        """Return the request, under its own key if the response was for its reader alone."""
        if request.admitted_as and result.cached.facts is not None and result.cached.is_ones_own:
            self.unshare(request.stream_key)
            return request.apart()
        return request

    # Reads

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
        self, requests: ReaderRequests, content_type: str, start: str
    ) -> tuple[CacheResult, StreamRead]:
        """Return the response with a followed stream's data after an offset.

        A cached response of another type is of an earlier stream: then the origin is asked. Raises
        StreamGone if the origin has a stream of another type.
        """
        for _ in range(2):
            result, facts = await self._read(requests, start)
            if followed.is_of_type(facts.content_type, content_type):
                return result, facts
            self.forget(requests.current.path)
        raise StreamGone(ANOTHER_STREAM)

    async def tail(self, request: CacheRequest) -> Snapshot:
        """Return the stream as it ends at the origin now; equal calls share one request."""
        key = (request.elsewhere(NOW).fetch_key, self.forgotten)
        return await self._tails.read(key, lambda: self._tail(request))

    async def _tail(self, request: CacheRequest) -> Snapshot:
        result, facts = await self._read(ReaderRequests(request), NOW)
        return snapshot_of(request, result, facts)

    async def _read(self, requests: ReaderRequests, offset: str) -> tuple[CacheResult, StreamRead]:
        """Return the response for all readers of a stream, read with the credentials of one."""
        while True:
            request = requests.current
            result = await self.catch_up(request, offset)
            if result.cached.status not in DENIALS or not requests.replace(request):
                break
        facts = result.cached.facts
        if facts is not None and result.cached.is_ones_own:
            requests.differ = True
            raise OriginBusy(ONES_OWN)
        if facts is None:
            try:
                refuse(result.cached.status, result.cached.said.again_s)
            except CannotFollow as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return result, facts
