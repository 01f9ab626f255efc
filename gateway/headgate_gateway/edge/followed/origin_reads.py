"""Reads of an origin's streams for live readers, with their credentials, and what reads show."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from headgate_gateway.edge.reads.shared_response import BEFORE_ALL
from headgate_gateway.edge.reads.variants import HitForPass
from headgate_gateway.errors import OriginBroken, OriginBusy, StreamGone, StreamNotFound
from headgate_gateway.live.source import EVENT_CHUNK_BYTES, EventChunk
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.rules import followed, repair
from headgate_gateway.rules.directives import normalised
from headgate_gateway.rules.followed import Snapshot
from headgate_gateway.rules.read_rules import ANOTHER_STREAM
from headgate_gateway.rules.served_lifetimes import private_lines
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from headgate_gateway.edge.reads.http_cache import CacheResult, HttpCache
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.rules.repair import StreamRead

PASSING = frozenset({408, 425, 429})  # statuses of refusals that are worth another try
LONGEST_READ = 64 << 20  # bytes of one response that is parsed for live readers
UNSURE = "it is not sure that the stream is the same"
# Requests; a stream is requested with each of them before it counts as gone.
MOST = 8
# Statuses that may refuse one reader, and not the next.
DENIALS = frozenset({401, 403, 404, 410})
# Sent to readers that shared a stream: each that asks again gets its own data from the origin.
FOR_ONE_READER = "the origin says that this is for one reader alone: ask again"
# The headers of a client that sends none by which a response could vary.
ANYBODY: CIMultiDict[str] = CIMultiDict()
OF_NO_STREAM = frozenset({"accept-encoding", "origin"})  # they select a form, not other data


class CannotFollow(Exception):
    """A refusal that the origin would repeat for any further poll."""

    def __init__(self, reason: HeadgateError) -> None:
        super().__init__(reason.detail)
        self.reason = reason


class PollQuestion(NamedTuple):
    """A question to the origin: a long-poll if it `waits` for new data, else a catch-up read."""

    start: str
    cursor: str | None
    waits: bool


class PollResult(NamedTuple):
    """The content of an answer: `body` has the data up to the offset `end`."""

    end: str
    cursor: str | None
    body: bytes
    content_type: str
    closed: bool
    caught_up: bool
    directives: str | None = None  # cache directives of a poll's data; None without data
    cors: str = ""  # the origin's CORS fields, if any


class ReaderRequests:
    """The requests that a stream can be read with: the present one, and those of later readers.

    All of them ask for the same stream, each with another reader's credentials. Beyond MOST the
    oldest is dropped. The request of a reader that has left stays while others read the stream. A
    stream that the origin has for one reader alone has a single request.
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

    cache: HttpCache  # set by the route, since the cache is made with what is known of streams

    def __init__(self, clock: Callable[[], float]) -> None:
        self._tails: SingleFlight[Snapshot] = SingleFlight()
        self._private = HitForPass(clock)  # keys of streams of which each reader gets other data
        self.events: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self.forgotten = 0

    # What is outdated

    def forget(self, path: str) -> None:
        """Drop all responses and events of a path: its stream was changed, or replaced."""
        self.cache.forget(path)
        self.distrust(path)

    def forget_all(self) -> None:
        """Outdate all fetches under way, and drop every event; the caller drops the responses."""
        self.forgotten += 1
        self.cache.fetches.outdate_all()
        self.events.clear()

    def distrust(self, path: str) -> None:
        """Drop events made from an answer that may belong to another request."""
        self.forgotten += 1
        self.events.drop(path)

    # Streams that cannot be shared

    def unshare(self, key: Hashable) -> None:
        """Note that the origin has data of a stream for one reader alone."""
        self._private.add(key)

    def keyed(self, request: CacheRequest) -> CacheRequest:
        """Return a reader's request, under its own key if the origin has other data for each."""
        if request.admitted_as and request.stream_key in self._private:
            return request.as_identified()
        return request

    def keyed_after(self, request: CacheRequest, result: CacheResult) -> CacheRequest:
        """Return the request, under its own key if the response was for its reader alone."""
        if (
            request.admitted_as
            and result.cached.facts is not None
            and result.cached.is_for_one_client
        ):
            self.unshare(request.stream_key)
            return request.as_identified()
        return request

    # Reads

    async def catch_up(self, request: CacheRequest, offset: str) -> CacheResult:
        """Return a whole response to a read from an offset, cached or fetched."""
        result = await self.cache.read(request.elsewhere(offset), LONGEST_READ)
        cached = result.cached
        if cached.facts is not None and cached.facts.is_coded:
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
        if facts is not None and result.cached.is_for_one_client:
            requests.differ = True
            raise OriginBusy(FOR_ONE_READER)
        if facts is None:
            try:
                refuse(result.cached.status, result.cached.said.again_s)
            except CannotFollow as end:
                raise end.reason from end
            raise OriginBroken("the origin's answer to a read is none of the protocol")
        return result, facts


def snapshot_of(request: CacheRequest, result: CacheResult, facts: StreamRead) -> Snapshot:
    """Return a stream as a read's result shows it.

    A cached response shows that a reader is up to date only if it has the end of a closed stream.
    """
    closed = facts.closed and facts.up_to_date
    has_tail = facts.up_to_date and not facts.is_empty
    tells_of_tail = has_tail and is_of_followed(result.cached, request)
    return Snapshot(
        request.path,
        facts.content_type,
        facts.next_offset,
        closed,
        closed or (facts.up_to_date and result.current),
        request.identified or result.cached.is_marked_private,
        request.lifetime,
        # For older parts an origin may send other directives than for the tail.
        result.cached.data_directives if tells_of_tail else None,
        cors=result.cached.cors,
        number=result.number if result.current else BEFORE_ALL,
    )


def as_read(snapshot: Snapshot, result: CacheResult, facts: StreamRead) -> Snapshot:
    """Return the snapshot for a long-poll that is answered with the result of a read.

    It says "up to date" wherever a cached copy of the result may say so.
    """
    caught_up = snapshot.caught_up or (facts.ends and result.tail_is_known)
    return snapshot._replace(caught_up=caught_up)


def as_sent(snapshot: Snapshot, read: Read, freshness: Freshness) -> Snapshot:
    """Return the snapshot for the response to a read: on a private route it is marked private.

    A read with the current reader key gets what all get, unless the origin marks it as private.
    """
    if not freshness.is_private or (read.by_key and not snapshot.private):
        return snapshot
    if read.by_key is False:  # the URL has a reader key that is outdated
        never = cache_headers.PRIVATE_NO_STORE
        return snapshot._replace(private=True, read_directives=never, poll_directives=never)
    read_directives = snapshot.read_directives
    poll_directives = private_lines(snapshot.poll_directives)
    if read_directives is not None:
        read_directives = private_lines(read_directives)
    return snapshot._replace(
        private=True, read_directives=read_directives, poll_directives=poll_directives
    )


def with_directives(
    snapshot: Snapshot, request: CacheRequest, read_directives: str | None, poll_directives: str
) -> Snapshot:
    """Return the snapshot with the origin's present cache directives for reads and for polls."""
    reads_are = snapshot.private if read_directives is None else repair.is_private(read_directives)
    private = request.identified or reads_are or repair.is_private(poll_directives)
    return snapshot._replace(
        private=private, read_directives=read_directives, poll_directives=poll_directives
    )


def is_of_followed(cached: CachedResponse, request: CacheRequest) -> bool:
    """Return whether a response is the variant that a followed stream's `request` selects."""
    return not any(
        name not in OF_NO_STREAM and normalised(name, request.headers) != value
        for name, value in cached.stored.vary
    )


def is_variant(cached: CachedResponse) -> bool:
    """Return whether a response is a variant that a client without extra headers does not get."""
    return bool(cached.stored.vary) and any(
        name not in OF_NO_STREAM
        and not cached.identity.has(name)
        and normalised(name, ANYBODY) != value
        for name, value in cached.stored.vary
    )


def refuse(status: int, again_s: int | None) -> None:
    """Raise the error for a read of a followed stream that was answered with `status`.

    `again_s` is its Retry-After.
    """
    if status == 404:
        raise CannotFollow(StreamNotFound("the stream was deleted"))
    if status == 410:
        raise CannotFollow(
            StreamGone("the stream was deleted, or its offsets are of an earlier one")
        )
    answers = f"the origin answers a read of the stream with {status}"
    if status >= 500 or status in PASSING:
        raise OriginBusy(answers, again_s)
    reason = OriginBroken(answers)
    if status >= 400:
        raise CannotFollow(reason)  # a reader's next request gets the origin's own answer
    raise reason
