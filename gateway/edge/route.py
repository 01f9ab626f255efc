"""A route to an HTTP origin: the requests it answers itself, and those it passes on."""

from __future__ import annotations

import secrets
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.access import reader_keys
from gateway.access.credentials import present, with_token
from gateway.cache.http_cache import HttpCache
from gateway.cache.rules.cached_response import CacheRequest, stream_key
from gateway.cache.rules.directives import normalised
from gateway.cache.rules.private_fields import Recipient
from gateway.cache.rules.response_rules import REPAIRS
from gateway.cache.stream_lifetimes import StreamLifetimes
from gateway.edge import metrics
from gateway.edge.append_end import end_of
from gateway.edge.askers import Askers
from gateway.edge.followed.followed_streams import FollowedStreams
from gateway.edge.kept_answers import kept_answer
from gateway.edge.known_streams import KnownStreams
from gateway.edge.multi_append import MultiAppendOffer
from gateway.edge.origin_guard import GuardTimes, OriginGuard
from gateway.errors import HeadgateError
from gateway.live.feed import park
from gateway.origin.waiting import answer_of
from gateway.protocol import http1
from gateway.protocol.http import forwarding
from gateway.protocol.http.forwarding import CONDITIONS, SCHEME, RequestSender
from gateway.protocol.http.paths import canonical_host, dropping
from gateway.protocol.origins import repair
from gateway.protocol.origins.edge_target import (
    EdgeLongPoll,
    catch_up,
    parse_edge_target,
    plain_catch_up,
)
from gateway.protocol.streams.offsets import BEGINNING
from gateway.protocol.streams.reach import Reach
from gateway.runtime.route import OPEN
from gateway.telemetry import traffic_metrics
from gateway.telemetry.metrics import Sample
from gateway.telemetry.rare_lines import OutageLine
from gateway.telemetry.traffic import Traffic, begins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping

    from multidict import MultiMapping

    from gateway.access.operations import Need
    from gateway.access.principal import Principal
    from gateway.cache.rules.response_rules import ResponseRules
    from gateway.live.contract import FeedSettings, Parkable
    from gateway.origin.client import Origin
    from gateway.origin.whole_answer import AnyAnswer
    from gateway.protocol.origins.edge_target import EdgeCatchUp, EdgeRead
    from gateway.protocol.requests import LongPoll, Read
    from gateway.runtime.context import Context
    from gateway.runtime.route import Checks, KeptAnswer, PlainGet, RouteAccess
    from gateway.runtime.writes import Write
    from gateway.telemetry.inspection import ListStreams, StreamDescription, StreamPage

REMEMBERED_TARGETS = 4096  # parsed; a thousand viewers of a stream send the same few
# The usual members of a Connection header; any other names a field that is not passed on.
_CONNECTION_NAMES = frozenset({"", "close", "keep-alive", "upgrade", "te", "http2-settings"})


class EdgeRoute:
    """A route to an HTTP origin, with the route's cache, feeds and guard."""

    runs = None  # they are visible where the log is stored
    keeps_order = False  # requests may overtake each other on their way to the origin

    def __init__(  # noqa: PLR0913 - what a route is made of
        self,
        prefix: str,
        origin: Origin,
        rules: ResponseRules,
        drop_query: tuple[str, ...],
        settings: FeedSettings,
        shared: Context,
        access: RouteAccess = OPEN,
    ) -> None:
        self.prefix = prefix
        self.access = access
        self._anybody = Recipient(access.is_private)  # without reader keys
        self.origin = origin
        self.via = rules.via
        self.freshness = replace(rules.freshness, is_private=access.is_private)  # for readers
        self.identity = rules.identity
        self._secret = secrets.token_bytes(32)
        self.origin_guard: OriginGuard | None = None
        self.traffic = Traffic()
        self._rules = rules
        self.cache = HttpCache(
            shared.store,
            rules,
            self._send,
            shared.clock,
            self._is_tail,
            self.traffic,
            self._recipient_of,
        )
        self.lifetimes = StreamLifetimes()
        self.multi_append = MultiAppendOffer(origin)
        self.feeds = FollowedStreams(
            origin,
            self.cache,
            settings,
            shared,
            self.traffic,
            identity=rules.identity,
            ignores_no_store=rules.ignore_no_store,
            freshness=self.freshness,
        )
        self.feeds.source.reader_keys = access.reader_keys
        self._known = KnownStreams(prefix, self.feeds, self.cache, self.feeds.source.turns)
        self.drop_query = drop_query
        # A reader key is for the caches in front of this gateway.
        self._dropped = drop_query
        if access.reader_keys is not None:
            self._dropped = (*drop_query, reader_keys.PARAMETER)
        self._drops = dropping(self._dropped)
        self.clock = shared.clock
        self._failures = OutageLine(
            "origin.failed", "origin.recovered", origin.figures.answer_count
        )
        self._parse = lru_cache(REMEMBERED_TARGETS)(self._parsed)
        self.askers = Askers(self)

    def use_origin_guard(self, ttl_s: float, on_end: Callable[[Principal], None]) -> None:
        """Let the origin decide who may read; a permission counts for `ttl_s` seconds."""
        settings = self.feeds.source.settings
        times = GuardTimes(ttl_s, max(settings.sse_max_age, settings.long_poll_timeout))
        self.origin_guard = OriginGuard(
            self._head, self._read_as, self.identity, times, self.clock, on_end
        )
        self.access = self.access._replace(guard=self.origin_guard)

    def log_failure(self, error: HeadgateError, path: str) -> None:
        """Log a failure of the origin: at once, then more and more rarely while it lasts."""
        self._failures.note(code=error.code, reason=error.detail, path=path)

    @staticmethod
    def checked(name: str) -> str:
        """Return a stream's name as it is: the origin decides which names are valid."""
        return name

    def parse(self, target: str) -> EdgeRead:
        """Return the read that a target asks for. Raises BadRequest."""
        read = self._parse(target)
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        keys = self.access.reader_keys
        return read if keys is None else keys.noted(read, target)

    def _parsed(self, target: str) -> EdgeRead | HeadgateError:
        try:
            if self._drops is None or self._drops.search(target) is None:
                read = plain_catch_up(target)
                if read is not None:
                    return read
            return parse_edge_target(target, self._dropped)
        except HeadgateError as error:
            return error.with_traceback(None)

    # Requests as the cache, the feeds and the origin see them

    def headers_for_origin(
        self, method: str, target: str, headers: MultiMapping[str]
    ) -> MultiMapping[str]:
        """Return the headers of a request without credentials that are not for the origin.

        An origin that decides who may read gets all of them, also a token from the query.
        """
        if self.origin_guard is None:
            return self.identity.without_cookie(headers)
        return with_token(headers, present(method, target, headers).token)

    def cache_request(
        self, headers: MultiMapping[str], sender: RequestSender, read: EdgeCatchUp
    ) -> CacheRequest:
        """Return a GET with its cache key; `headers` are those that the origin may have."""
        headers = forwarding.without_query_of_referer(headers)
        dropped = self.identity.dropped
        is_plain = dropped.isdisjoint(map(str.lower, headers)) if dropped else True
        # A field that is not passed on selects no variant, and makes no response one reader's own.
        if not (is_plain and forwarding.hop_names(headers) <= _CONNECTION_NAMES):
            headers = forwarding.end_to_end(headers, dropped)
        coding = ""
        if "Accept-Encoding" in headers:
            coding = normalised("accept-encoding", headers)
        known_by = self.identity.known_by(headers)
        # For anonymous reads the origin need not know the page: this gateway adds the CORS fields.
        is_ones_own = known_by and self.origin_guard is None
        page = frozenset() if is_ones_own else frozenset({"origin"})
        fields = forwarding.request_fields(
            headers,
            sender,
            self.via,
            drop=CONDITIONS | dropped | page | {"accept-encoding"},
            keyed=known_by,
        )
        fields["Accept-Encoding"] = coding or "identity"
        host = canonical_host(headers.get("Host", ""))
        who: Hashable = tuple((name, tuple(headers.getall(name))) for name in known_by)
        admitted_as = ""
        if self.origin_guard is not None:
            admitted_as, who = self._hashed((host, read.path, read.others, who)), ()
            headers = self.origin_guard.stripped(headers)
        return CacheRequest(
            host,
            read,
            headers,
            fields,
            self._hashed(who) if who else "",
            coding,
            self.lifetimes.of(read.path),
            admitted_as,
        )

    def recipient(self, read: Read) -> Recipient:
        """Return the recipient of the response to a read."""
        keys = self.access.reader_keys
        if keys is None:
            return self._anybody
        read = reader_keys.renewed(keys, read)
        return Recipient(self.access.is_private, read.told_key, read.by_key)

    def _recipient_of(self, path: str, reader_key: str | None) -> Recipient:
        """Return the recipient of a response, from a read's path and the reader key in its URL."""
        keys = self.access.reader_keys
        if keys is None:
            return self._anybody
        return Recipient(self.access.is_private, keys.of(path), keys.is_current(path, reader_key))

    def _hashed(self, identity: Hashable) -> str:
        """Return a keyed hash that tells one identity from others."""
        return blake2b(repr(identity).encode(), key=self._secret, digest_size=16).hexdigest()

    def _read_as(self, headers: MultiMapping[str], token: str | None, need: Need) -> CacheRequest:
        """Return the request by which the origin is asked whether a client may read a stream."""
        read = self.parse(f"{need.path}?{need.query}" if need.query else need.path)
        headers = with_token(headers, token)
        named = canonical_host(headers.get("Host", ""))
        beginning = catch_up(read, BEGINNING)
        request = self.cache_request(headers, RequestSender("", SCHEME, named), beginning)
        return request.plain(self.identity)

    async def _head(self, request: CacheRequest) -> AnyAnswer:
        """Return the origin's response to a HEAD of the stream that a client wants to read."""
        others = "&".join(request.read.others)
        target = f"{request.path}?{others}" if others else request.path
        return await self.origin.send("HEAD", target, request.fields)

    def _is_tail(self, host: str, read: EdgeCatchUp, offset: str) -> bool:
        """Return whether the stream that anonymous clients read is known to end at an offset."""
        return self.feeds.is_tail(stream_key(host, read, ""), offset)

    def _send(
        self, request: CacheRequest, validators: list[tuple[str, str]]
    ) -> Awaitable[AnyAnswer]:
        fields, block = request.fields, request.block
        if validators:
            fields, block = fields.copy(), None
            fields.extend(validators)
        sent = self.origin.sent("GET", request.read.target, fields, block=block)
        return sent if self.origin_guard is None else self._notify_guard(request, sent)

    async def _notify_guard(self, request: CacheRequest, sent: Awaitable[AnyAnswer]) -> AnyAnswer:
        """Return the origin's response, after the guard has been notified of its status."""
        answer = await answer_of(sent)
        assert self.origin_guard is not None, "it decides"
        self.origin_guard.note_status(request.admitted_as, answer.status)
        return answer

    async def missing_fields(
        self, method: str, read: EdgeRead, sent: MultiMapping[str], answer: AnyAnswer
    ) -> dict[str, str]:
        """Return the fields that the response to a request with the fields `sent` lacks."""
        if not repair.lacks_end(method, answer.status, answer.headers):
            return {}
        missing = await end_of(self.origin, read.target, sent)
        self._rules.repairs["end"] += bool(missing)
        return missing

    # Requests answered without a task

    @staticmethod
    def cached_answer(shared: Context, get: PlainGet, now: float) -> KeptAnswer | None:
        """Return the cached response to a plain GET, or None unless it is fresh."""
        return kept_answer(shared, get, now)

    def park(
        self, connection: Parkable, _name: str, read: LongPoll, headers: MultiMapping[str]
    ) -> bool:
        """Let a long-poll wait in a feed, or answer it with news; return False if neither works."""
        assert isinstance(read, EdgeLongPoll), "parsed by this route"
        if read.offset is None or "Via" in headers or self.identity.tell(headers):
            return False
        assert isinstance(read.offset, str), "as the origin has given it"
        stream = self.feeds.peek(stream_key(headers.get("Host", ""), read, ""), read.offset)
        if stream is None:
            return False
        position = stream.start_of(read.offset)
        if not stream.may_wait(position):
            news = self.feeds.source.rendered_recent(stream, read)
            if news is not None:
                connection.write(news)
                self.traffic.polls[begins(read.offset)].given(http1.body_size(news))
            return news is not None
        try:
            join = partial(self.feeds.join, stream)
            park(connection, join, read, position)
        except HeadgateError:
            return False
        return True

    # Interface to the process

    def invalidate(self, write: Write) -> None:
        """Drop cached responses that a write has outdated, and note how far the stream reaches."""
        reach = Reach(write.tail or "", write.closed)
        if write.only_grown:
            self.cache.moved(write.path, reach)
        else:
            self.feeds.reader.forget(write.path)
        if write.created is not None:
            self.lifetimes.created(write.path, write.created)
        if write.deleted or write.hidden:
            self.feeds.deleted(write.path, for_all=write.deleted)
        if write.is_new:
            self.feeds.doubts.replaced(write.path, None)
        if write.tail is not None:
            self.feeds.written(write.path, reach)

    def invalidate_all(self) -> None:
        """Cache nothing of requests under way, and ask again where each followed stream ends."""
        self.feeds.reader.forget_all()
        self.feeds.ask_all_anew()

    def readiness(self) -> Checks:
        """Return no check: cached responses do not need the origin."""
        return {}

    def notes(self) -> Checks:
        """Return a check that says why no server of the origin can be reached, if so."""
        return {f"origin {self.prefix}": self.origin.why_unhealthy()}

    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the origin, its cache and its feeds."""
        compared, forgotten = self.feeds.origin.comparisons, self.feeds.doubts.forgotten
        yield from metrics.samples(self.prefix, self.origin, self.cache, compared, forgotten)
        if self.origin_guard is not None:
            guard = self.origin_guard
            yield from metrics.samples_of_guard(self.prefix, guard.results, guard.remembered)
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        yield Sample(traffic_metrics.FEEDS, (self.prefix,), self.feeds.count)
        yield Sample(traffic_metrics.REFUSALS, ("max_origin_requests",), self.origin.refused)
        for name in REPAIRS:
            yield Sample(traffic_metrics.REPAIRS, (self.prefix, name), self._rules.repairs[name])

    async def list_streams(self, question: ListStreams) -> StreamPage:
        """Return a page of the streams that this process knows."""
        return await self._known.page(question)

    async def describe(self, name: str) -> StreamDescription:
        """Return what is known of a stream, and its readers here. Raises StreamNotFound."""
        return self._known.describe(name)

    async def share_figures(self, instance: str, told: str) -> Mapping[str, str]:  # noqa: ARG002 - as of any route
        """Return nothing: the figures of this route are not shared between instances."""
        return {}

    async def open(self) -> None:
        """Start checking the health of the origin's servers; raises StartError."""
        await self.origin.open()
        if self.origin_guard is not None:
            self.origin_guard.start()

    async def drain(self) -> None:
        """Disconnect every live reader."""
        await self.feeds.drain()

    async def close(self) -> None:
        """End the requests at the origin, and every connection to it."""
        self.feeds.close()
        if self.origin_guard is not None:
            await self.origin_guard.stop()
        await self.cache.close()
        await self.origin.close()
        self._failures.close()  # last, because requests that end before may fail
