"""Reads that no cache has, asked of the origin without a request object or a task.

On the ordinary way a miss takes 250 us: a task and what wakes it, and the same fields of the same
reader put together for the origin each time. Here it is a few look-ups and calls, and less than
half of that. What takes more goes the ordinary way: readers who are somebody in particular, routes
with a guard, parts, what a followed stream answers. So does, in the middle, what turns out not to
be a plain answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace
from multidict import CIMultiDict

from gateway.cache.conditional import wants_all
from gateway.cache.private_fields import Recipient
from gateway.cache.short_answers import ShortAnswers
from gateway.errors import HeadgateError
from gateway.protocol import forwarding
from gateway.protocol.edge_target import EdgeCatchUp, plain_catch_up
from gateway.protocol.followed import Span
from gateway.protocol.forwarding import Sender
from gateway.protocol.paths import canonical_host, dropping
from gateway.runtime.shedding import READS

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.cache.cache_result import CacheResult
    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.short_waiter import ShortWaiter
    from gateway.cache.stream_lifetimes import StreamLifetimes
    from gateway.edge.followed_stream import FollowedStream
    from gateway.edge.followed_streams import FollowedStreams
    from gateway.origin.client import Origin
    from gateway.origin.raw_way import RawWay
    from gateway.origin.whole_answer import Asked, Asker
    from gateway.protocol.edge_target import EdgeRead
    from gateway.protocol.identity import IdentityHeaders
    from gateway.runtime.context import Context
    from gateway.runtime.route import Access, OriginReader, PlainGet

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
    via: str

    def parse(self, target: str) -> EdgeRead:
        """A target as a read. Raises BadRequest."""

    def cache_request(
        self, headers: MultiMapping[str], sender: Sender, read: EdgeCatchUp
    ) -> CacheRequest:
        """A GET as its cache key, and as the origin will have it."""


class _Asker(NamedTuple):
    """How the origin is asked in the name of whoever sends these headers from this address."""

    headers: MultiMapping[str]  # as long as they are held, no others have their id
    request: CacheRequest  # of any stream
    fields: bytes


class ShortReads:
    """Those of one route."""

    def __init__(self, route: Route, shared: Context) -> None:
        self._route = route
        self._shared = shared
        self._answers = ShortAnswers(route.cache, shared.clock, self._ask)
        self._recipient = Recipient(route.access.is_private)  # reader keys are for who is admitted
        self._askers: dict[tuple[int, str], _Asker] = {}
        self._drops = dropping(route.drop_query)

    def begin(self, reader: OriginReader, get: PlainGet, address: str, *, is_known: bool) -> bool:
        """Ask for it, if that can be done so."""
        route, raw = self._route, self._route.origin.raw
        if raw is None or route.access.guard is not None or self._shared.shedding.level >= READS:
            return False
        read = self._read(get.target)
        key = (id(get.headers), address)
        asker = self._askers.get(key) or self._learn(get.headers, address, raw, is_known=is_known)
        if asker is None or read is None:
            return False
        request = replace(asker.request, read=read, lifetime=route.lifetimes.of(read.path))
        reader.request, reader.fields = request, asker.fields
        reader.recipient = self._recipient
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
        self, reader: ShortWaiter, conditions: list[tuple[str, str]], asker: Asker
    ) -> Asked | None:
        """Send the request, if that can be done without a task."""
        raw, fields = self._route.origin.raw, reader.fields
        if raw is None:
            return None
        if conditions:
            more = raw.block(CIMultiDict(conditions))
            if more is None:
                return None
            fields += more
        return raw.ask("GET", reader.request.read.target, fields, b"", asker)

    def _read(self, target: str) -> EdgeCatchUp | None:
        if self._drops is None or self._drops.search(target) is None:
            read = plain_catch_up(target)
            if read is not None:
                return read
        try:
            parsed = self._route.parse(target)
        except HeadgateError:
            return None
        return parsed if isinstance(parsed, EdgeCatchUp) else None

    def _learn(
        self, headers: MultiMapping[str], address: str, raw: RawWay, *, is_known: bool
    ) -> _Asker | None:
        """How the origin is asked, if it is for anybody; None where an error may have to tell."""
        route = self._route
        if route.identity.tell(headers) or not wants_all(headers):
            return None
        try:
            forwarding.check_loop(headers, route.via)
        except HeadgateError:
            return None
        sender = Sender(address, "http", canonical_host(headers.get("Host", "")))
        anywhere = EdgeCatchUp(route.prefix, route.prefix, None, (), is_clear=True)
        request = route.cache_request(headers, sender, anywhere)
        fields = raw.block(request.fields)
        if fields is None or request.identity or len(headers.getall("Origin", ())) > 1:
            return None
        asker = _Asker(headers, request, fields)
        if is_known:
            if len(self._askers) >= REMEMBERED_ASKERS:
                self._askers.clear()
            self._askers[id(headers), address] = asker
        return asker


def _tell(stream: FollowedStream, reader: OriginReader, result: CacheResult) -> None:
    """Let a followed stream know what was read of it."""
    facts, request = result.cached.facts, reader.request
    if facts is not None:
        assert reader.fetch is not None, "it has brought the result"
        span = Span(request.start, facts.next_offset, result.cached.body)
        # What is for one reader alone is no news for others.
        shown = result if reader.fetch.shared else replace(result, current=False)
        stream.read_by_somebody(span, shown)
