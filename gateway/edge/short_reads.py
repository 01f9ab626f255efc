"""Reads that no cache has, asked of the origin without a request object or a task.

On the ordinary way a miss takes 250 us: a task and what wakes it, and the same fields of the same
reader put together for the origin each time. Here it is a few look-ups and calls, and less than
half of that. Of a reader whom the origin knows by his fields nothing is remembered, so for him they
are put together each time here, too. What takes more goes the ordinary way: parts, what a followed
stream answers, and, in the middle, what turns out not to be a plain answer. Where the origin itself
decides who may read, that costs one more question if it has just refused him.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace
from multidict import CIMultiDict

from gateway.cache.conditional import wants_all
from gateway.cache.short_answers import ShortAnswers
from gateway.errors import HeadgateError
from gateway.protocol import forwarding
from gateway.protocol.edge_target import EdgeCatchUp, plain_catch_up
from gateway.protocol.followed import Span
from gateway.protocol.forwarding import SCHEME, Sender
from gateway.protocol.paths import canonical_host, dropping
from gateway.runtime.shedding import READS

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

    from gateway.cache.cache_result import CacheResult
    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.private_fields import Recipient
    from gateway.cache.stream_lifetimes import StreamLifetimes
    from gateway.edge.followed_stream import FollowedStream
    from gateway.edge.followed_streams import FollowedStreams
    from gateway.edge.origin_guard import OriginGuard
    from gateway.origin.client import Origin, OriginAnswer
    from gateway.origin.raw_way import RawWay
    from gateway.origin.whole_answer import Asked, Asker, WholeAnswer
    from gateway.protocol.edge_target import EdgeRead
    from gateway.protocol.identity import IdentityHeaders
    from gateway.protocol.requests import Read
    from gateway.runtime.context import Context
    from gateway.runtime.route import Access, Head, OriginReader, PlainGet

REMEMBERED_ASKERS = 1024  # blocks of fields, each with what the origin is asked by: 4 MB


class Route(Protocol):
    """A route to an origin, as far as reads need it."""

    prefix: str
    access: Access
    cache: HttpCache
    drop_query: tuple[str, ...]
    feeds: FollowedStreams
    identity: IdentityHeaders
    lifetimes: StreamLifetimes
    origin: Origin
    origin_guard: OriginGuard | None
    via: str

    def parse(self, target: str) -> EdgeRead:
        """A target as a read. Raises BadRequest."""

    def recipient(self, read: Read) -> Recipient:
        """For whom the answer to a read is."""

    def told_origin(
        self, method: str, target: str, headers: MultiMapping[str]
    ) -> MultiMapping[str]:
        """The headers of a request as far as they are for the origin."""

    def cache_request(
        self, headers: MultiMapping[str], sender: Sender, read: EdgeCatchUp
    ) -> CacheRequest:
        """A GET as its cache key, and as the origin will have it."""


class _Asker(NamedTuple):
    """How the origin is asked in the name of whoever sends these headers from this address."""

    headers: MultiMapping[str]  # as long as they are held, no others have their id
    request: CacheRequest  # of the stream that was read first
    fields: bytes


class ShortReads:
    """Those of one route."""

    def __init__(self, route: Route, shared: Context) -> None:
        self._route = route
        self._shared = shared
        self._answers = ShortAnswers(route.cache, shared.clock, self._ask)
        route.cache.renews = self._answers.refresh
        self._askers: dict[tuple[int, str], _Asker] = {}
        self._drops = dropping(route.drop_query)

    def begin(
        self, reader: OriginReader, get: PlainGet, head: Head, address: str, *, is_known: bool
    ) -> bool:
        """Ask for it, if that can be done so."""
        route, raw = self._route, self._route.origin.raw
        if raw is None or self._shared.shedding.level >= READS:
            return False
        read, headers = self._read(get.target), get.headers
        if route.origin_guard is not None:
            headers = route.told_origin("GET", head.path, head.headers)
        if read is None:
            return False
        asker = self._askers.get((id(headers), address))
        asker = asker or self._learn(headers, address, read, raw, is_known=is_known)
        if asker is None:
            return False
        request = replace(asker.request, read=read, lifetime=route.lifetimes.of(read.path))
        reader.request, reader.fields = request, asker.fields
        reader.recipient = route.recipient
        stream = route.feeds.read_by(request)
        if stream is not None:
            reader.first = partial(_tell, stream, reader)
        if not self._answers.fetch(reader, stream):
            return False
        try:
            reader.wait()
        except BaseException:
            assert reader.fetch is not None, "it has begun, or is joined"
            reader.fetch.leave_short(reader)
            raise
        return True

    def _ask(
        self,
        request: CacheRequest,
        fields: bytes | None,
        conditions: list[tuple[str, str]],
        asker: Asker,
    ) -> Asked | None:
        """Send the request, if that can be done without a task."""
        raw = self._route.origin.raw
        if raw is None:
            return None
        if fields is None:
            fields = raw.block(request.fields)
            if fields is None:
                return None
        if conditions:
            more = raw.block(CIMultiDict(conditions))
            if more is None:
                return None
            fields += more
        guard = self._route.origin_guard
        if guard is not None:
            asker = _Overhearing(asker, partial(guard.heard, request.admitted_as))
        return raw.ask("GET", request.read.target, fields, b"", asker)

    def _read(self, target: str) -> EdgeCatchUp | None:
        has_keys = self._route.access.reader_keys is not None
        if not (has_keys or (self._drops is not None and self._drops.search(target))):
            read = plain_catch_up(target)
            if read is not None:
                return read
        try:
            parsed = self._route.parse(target)
        except HeadgateError:
            return None
        return parsed if isinstance(parsed, EdgeCatchUp) else None

    def _learn(
        self,
        headers: MultiMapping[str],
        address: str,
        read: EdgeCatchUp,
        raw: RawWay,
        *,
        is_known: bool,
    ) -> _Asker | None:
        """How the origin is asked for a read; None where an error may have to tell."""
        route = self._route
        if not wants_all(headers):
            return None
        try:
            forwarding.check_loop(headers, route.via)
        except HeadgateError:
            return None
        sender = Sender(address, SCHEME, canonical_host(headers.get("Host", "")))
        request = route.cache_request(headers, sender, read)
        fields = raw.block(request.fields)
        if fields is None or len(headers.getall("Origin", ())) > 1:
            return None
        asker = _Asker(headers, request, fields)
        # What says who somebody is stays nowhere.
        if is_known and not (request.identity or request.admitted_as):
            if len(self._askers) >= REMEMBERED_ASKERS:
                self._askers.clear()
            self._askers[id(headers), address] = asker
        return asker


class _Overhearing:
    """An asker for whom a guard is told first how the origin has answered."""

    def __init__(self, asker: Asker, hear: Callable[[int], None]) -> None:
        self._asker = asker
        self._hear = hear
        self.failed = asker.failed

    def answered(self, answer: WholeAnswer) -> None:
        """Of an Asker."""
        self._hear(answer.status)
        self._asker.answered(answer)

    def began(self, answer: OriginAnswer) -> None:
        """Of an Asker."""
        self._hear(answer.status)
        self._asker.began(answer)


def _tell(stream: FollowedStream, reader: OriginReader, result: CacheResult) -> None:
    """Let a followed stream know what was read of it."""
    facts, request = result.cached.facts, reader.request
    if facts is not None:
        assert reader.fetch is not None, "it has brought the result"
        span = Span(request.start, facts.next_offset, result.cached.body)
        # What is for one reader alone is no news for others; he may have a stream of his own.
        is_news = reader.fetch.shared or request.identified
        shown = result if is_news else replace(result, current=False)
        stream.read_by_somebody(span, shown)
