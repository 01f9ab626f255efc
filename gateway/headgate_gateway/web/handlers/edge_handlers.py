"""Handle requests below an HTTP origin: reads by cache and feeds, the rest forwarded."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp.web import RequestPayloadError
from typing_extensions import override

from headgate_gateway.access.principal import account_of
from headgate_gateway.edge.followed.origin_reads import snapshot_of
from headgate_gateway.edge.reads import decision
from headgate_gateway.edge.route import EdgeRoute
from headgate_gateway.errors import (
    OF_THE_ORIGIN,
    BadRequest,
    HeadgateError,
    LoopDetected,
    MethodNotAllowed,
    OriginBehind,
    OriginBroken,
    OriginTimeout,
)
from headgate_gateway.live.contract import Parked
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.http import cache_status, forwarding
from headgate_gateway.protocol.http.header_names import FORKED_FROM
from headgate_gateway.protocol.http.paths import split
from headgate_gateway.protocol.requests import CatchUp, Live, LongPoll
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.rules import edge_target, followed, policy
from headgate_gateway.rules.followed import Span
from headgate_gateway.runtime.quotas import peer_of
from headgate_gateway.runtime.shedding import LIVE, READS
from headgate_gateway.stepped import in_task
from headgate_gateway.web.handlers import live_responses
from headgate_gateway.web.handlers.forwarding import (
    LEFT_WRITE_S,
    fields_to_origin,
    fork_source,
    forwarded,
    sender_of,
)
from headgate_gateway.web.handlers.passed_appends import PassedAppends
from headgate_gateway.web.handlers.plain_reads import (
    ReadPlan,
    from_followed,
    note_read,
    present,
    read_plan,
)
from headgate_gateway.web.operations import RouteOperations
from headgate_gateway.web.requests import request_body, request_head
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Coroutine

    from multidict import MultiMapping

    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.requests import Events, Read
    from headgate_gateway.routes.services import Services
    from headgate_gateway.rules.cached_response import CacheRequest
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.requests.request import Request

# A feed times its polls out together, counted from when they were parked. A poll that waited for
# the origin first is timed out alone, counted from its request; with this margin the feed is first
# if there was no wait.
ALONE_S = 0.25
MOST_LOOKS = 3  # at a stream that grows between reads; then the poll waits for more
UNFORWARDED = frozenset({"CONNECT", "TRACE"})  # a tunnel, and an echo that could reveal credentials


class EdgeHandlers(RouteOperations):
    """The operations on streams of HTTP origins, which `operate` starts."""

    def __init__(self, plans: Plans, services: Services) -> None:
        self._plans = plans
        self._services = services
        self.passed_appends = {
            route: PassedAppends(route) for route in plans.router if isinstance(route, EdgeRoute)
        }

    @override
    def operate(
        self, request: Request, target: str, route: EdgeRoute, _name: str
    ) -> Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None]:
        """Return the awaitable of the answer, which is None after a hand-over."""
        method = request.method
        is_write = method != "GET" and policy.invalidates(method, 200)
        request.limit_grace(LEFT_WRITE_S if is_write else 0.0)
        if method in UNFORWARDED:
            raise MethodNotAllowed(f"{method} is not passed on")
        forwarding.check_loop(request.headers, route.requests.via)
        read = route.parse(target)
        if method == "POST" and (plan := self.passed_appends[route].plan(request, read)):
            self._plans.add(plan, request.target)
        is_get = method == "GET" and not request.has_body
        if isinstance(read, CatchUp) and (is_get or method == "HEAD"):
            return self._read(request, route, read)
        if isinstance(read, Live) and is_get:
            return self._live(request, route, read)
        return self._pass_on(request, route, read)

    @override
    def note_failure(self, route: EdgeRoute, error: HeadgateError, request: Request) -> None:
        """Log the error if the origin has given no answer, or a request goes round in a loop."""
        # Where the origin decides who may read, its guard counts the questions that fail.
        is_begun = route.requests.are_reusable or request.grace_s is not None
        if is_begun and isinstance(error, (*OF_THE_ORIGIN, LoopDetected)):
            route.log_failure(error, split(request_head.target(request))[0])

    # Reads

    async def _read(self, request: Request, route: EdgeRoute, read: CatchUp) -> RouteAnswer:
        """Answer a catch-up read from the cache, a followed stream or the origin."""
        cache_request = self._cache_request(request, route, read)
        stream = route.feeds.read_by(cache_request)
        now, source = self._services.clock(), route.feeds.source
        decided = route.cache.decide(request.method, cache_request, stream, now)
        if decided.news is not None:
            snapshot, span = decided.news
            return from_followed(request, source.data(snapshot, read, span))
        if decided.use is decision.PASS or decided.use in decision.NEEDS_ORIGIN:
            self._services.shedding.check(READS)
        if decided.use is decision.PASS:
            return await self._pass_on(request, route, read)
        if decided.use is decision.MISS:
            self._plan_reads(request, route, read)
        result = await route.cache.carry_out(decided, cache_request, now, request.resources)
        if stream is not None:
            note_read(stream, cache_request, result)
        return present(request, route.recipient_of(read), result, self._services)

    def _cache_request(self, request: Request, route: EdgeRoute, read: CatchUp) -> CacheRequest:
        """Return the cache request of a read: by its plan, if it has one, or made anew."""
        fields, own, plan = request.fields, request.own, None
        if fields.are_known and not own.has_more:
            plan = self._plans.of_reads(route, fields, peer_of(request.transport))
        if isinstance(plan, ReadPlan):
            return plan.request_for(read, own)
        sender = sender_of(request, route.requests.scheme)
        return route.requests.cache_request(_headers(request, route), sender, read)

    def _plan_reads(self, request: Request, route: EdgeRoute, read: CatchUp) -> None:
        """Leave a plan for reads with the same fields as this one, but for its own."""
        if request.fields.are_known and request.method == "GET":
            plan = read_plan(route, request.fields, peer_of(request.transport), read)
            if plan is not None:
                self._plans.add_read(plan)

    # Live reads

    async def _live(self, request: Request, route: EdgeRoute, read: Live) -> RouteAnswer | None:
        request.end_with_fin()
        live_responses.check_open(request)
        self._services.shedding.check(LIVE)
        await in_task()
        read = edge_target.resumed(read, request.headers)
        beginning = edge_target.catch_up(read, edge_target.start_of(read))
        cache_request = route.requests.cache_request(
            _headers(request, route), sender_of(request, route.requests.scheme), beginning
        )
        plain = route.feeds.reader.keyed(cache_request.plain(route.identity))
        if isinstance(read, LongPoll):
            return await self._poll(request, route, plain, read)
        return await self._events(request, route, plain, read)

    async def _poll(
        self, request: Request, route: EdgeRoute, plain: CacheRequest, read: LongPoll
    ) -> RouteAnswer:
        """Answer a long-poll with data after its offset, or have it wait for the feed."""
        feeds = route.feeds
        until = (
            asyncio.get_running_loop().time() + feeds.source.settings.long_poll_timeout + ALONE_S
        )
        stream = feeds.read_by(plain)
        client = self._client(request)
        position = _position(read, stream)
        with feeds.writes.reading(plain.path):
            for _ in range(MOST_LOOKS):
                if stream is not None:
                    if stream.may_wait(position):
                        break
                    news = feeds.source.recent(stream, read, position)
                    if news is not None:
                        return RouteAnswer.of(news, cache_status.COLLAPSED)
                result = await feeds.reader.catch_up(plain, position)
                plain = feeds.reader.keyed_after(plain, result)
                if result.cached.facts is None:
                    return present(request, route.recipient_of(read), result, self._services)
                snapshot = snapshot_of(plain, result, result.cached.facts)
                there = feeds.poll_response(plain, read, snapshot, result, position, client)
                if there is not None:
                    return RouteAnswer.of(there, result.cache)
                live_responses.check_open(request)
                start, position = position, snapshot.tail
                stream = feeds.follow(plain, snapshot, client, has_tail=start != position)
                stream.note_read(Span(start, position, result.cached.body), result)
                if stream.feed.position <= position:
                    break  # otherwise the stream has grown meanwhile
        assert stream is not None, "the loop has followed it"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                join = partial(feeds.join, stream, plain)
                return await live_responses.poll(request, join, read, position)
        exchange_of(request).ended = "timeout"
        ended = await feeds.source.out_of_time(stream, Parked(position, read, until))
        return RouteAnswer.of(ended, cache_status.COLLAPSED)

    async def _events(
        self,
        request: Request,
        route: EdgeRoute,
        plain: CacheRequest,
        read: Events,
    ) -> RouteAnswer | None:
        """Hand the connection to the stream's feed, after everything that may fail."""
        feeds = route.feeds
        stream = feeds.read_by(plain)
        start = _position(read, stream)
        if stream is None or not stream.reaches(start):
            with feeds.writes.reading(plain.path):
                outcome = await self._begin_events(request, route, plain, read, start)
            if isinstance(outcome, RouteAnswer):
                return outcome
            stream, start = outcome
        live_responses.check_open(request)
        join = partial(feeds.join, stream, plain)
        snapshot, is_private = (
            stream.state.snapshot,
            stream.requests.current.identified or route.access.is_private,
        )
        head = responses.event_stream(snapshot.content_type, snapshot.cors, private=is_private)
        live_responses.stream_events(request, self._services, join, head, read, start)
        return None

    async def _begin_events(
        self,
        request: Request,
        route: EdgeRoute,
        plain: CacheRequest,
        read: Events,
        start: str,
    ) -> RouteAnswer | tuple[FollowedStream, str]:
        """Read, and return the followed stream and the next offset, or an answer without events."""
        feeds, client = route.feeds, self._client(request)
        for _ in range(MOST_LOOKS):
            result = await feeds.reader.catch_up(plain, start)
            plain = feeds.reader.keyed_after(plain, result)
            facts = result.cached.facts
            if facts is None:
                return present(request, route.recipient_of(plain.read), result, self._services)
            snapshot = snapshot_of(plain, result, facts)
            if read.last_event_id and facts.is_empty and snapshot.closed:
                # The reader has received the end already; a 204 stops a browser's reconnects.
                ended = feeds.source.no_content(snapshot, plain.read, snapshot.tail)
                return RouteAnswer.of(ended, result.cache)
            stream = feeds.table.verified(
                plain.stream_key, snapshot, ends=facts.up_to_date or facts.is_empty
            )
            if stream is None:
                is_tail = snapshot.caught_up or snapshot.closed
                known = snapshot if is_tail else await feeds.reader.tail(plain)
                live_responses.check_open(request)
                if followed.goes_past(snapshot, known) and not result.current:
                    feeds.reader.forget(plain.path)  # a cached copy is older: read again
                    continue
                stream = feeds.follow(plain, known, client, has_tail=known.tail != start)
            elif start == NOW:
                stream.state.note_tail(snapshot.tail)
            stream.note_read(Span(start, facts.next_offset, result.cached.body), result)
            return stream, facts.next_offset if start == NOW or facts.is_empty else start
        raise OriginBehind("the stream was made anew again and again while it was read")

    def _client(self, request: Request) -> str:
        """Return the client that a followed stream counts for."""
        account = account_of(exchange_of(request).principal)
        return self._services.quotas.counts_as(request.transport, request.headers, account)

    # Everything else

    async def _pass_on(self, request: Request, route: EdgeRoute, read: Read) -> RouteAnswer:
        tails = route.feeds.writes.tails(read.path)
        body, fields = self._body(request), fields_to_origin(request, route, request.headers)
        if (source := fork_source(request.headers)) is not None:
            fields[FORKED_FROM] = self._at_origin(source, route)
        if not (body is None or isinstance(body, bytes)) and request.content_length is not None:
            fields["Content-Length"] = str(request.content_length)
        await route.multi_append.check(request.method, read.target, fields)
        if request.method == "DELETE":
            request.resources().enter_context(route.feeds.writes.deleting(read.path))
        try:
            answer = await route.origin.send(request.method, read.target, fields, body)
        except (OriginBroken, OriginTimeout, asyncio.CancelledError):
            forwarded(request, route, read, tails).invalidate_unsure()
            raise
        except RequestPayloadError as error:
            raise request_head.bad_body(error) from error
        if answer.body is None:
            request.call_at_end(answer.release)
        return await forwarded(request, route, read, tails).complete(fields, answer)

    def _body(self, request: Request) -> bytes | AsyncIterable[bytes] | None:
        """Return the body of a request: whole if it is here, else as its parts come."""
        if not request.has_body:
            return None
        if (whole := request_body.at_hand(request)) is not None:
            return whole
        still = exchange_of(request).check_admission
        return request_body.parts(request, self._services.timeouts, self._services.limits, still)

    def _at_origin(self, source: str, route: EdgeRoute) -> str:
        """Return the origin's path of a fork's source. Raises BadRequest if another route has it.

        Another route may begin below a longer prefix, even if the origin has streams there.
        """
        path = route.origin.servers.path(source)
        if path is None or self._plans.router.find(source)[0] is not route:
            raise BadRequest("Stream-Forked-From must name a stream of the same route")
        return path


def _position(read: Read, stream: FollowedStream | None) -> str:
    """Return the offset where a live read begins; a followed stream resolves `now`."""
    offset = edge_target.start_of(read)
    return offset if stream is None else stream.state.start_of(offset)


def _headers(request: Request, route: EdgeRoute) -> MultiMapping[str]:
    """Return the header fields of a request that the origin may see."""
    return route.requests.headers_for_origin(
        request.method, request_head.target(request), request.headers
    )
