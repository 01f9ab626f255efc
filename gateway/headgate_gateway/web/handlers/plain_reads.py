"""Reads of an origin's streams that go by plans: what equal ones from one address have in common.

A plan has the request for the origin, except for the stream. It is for reads of a whole response
that the cache does not have; all other reads have a handler. `present` makes the response for reads
of either kind.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.edge.reads.decision import MISS
from headgate_gateway.edge.reads.http_cache import begin, is_for
from headgate_gateway.errors import HeadgateError, RangeNotSatisfiable
from headgate_gateway.origin.requests import field_block
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.forwarding import RequestSender
from headgate_gateway.protocol.http.paths import canonical_host
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.responses import Facts
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.rules.directives import Marks, byte_range, is_not_modified, wants_all
from headgate_gateway.rules.followed import FOREVER, Span
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.admission import check_again, refuse_ended
from headgate_gateway.web.asks.ask import OriginAsk, Plan
from headgate_gateway.web.requests.exchange import RESULTS, resumed
from headgate_gateway.web.requests.request import exchange_of
from headgate_gateway.web.requests.responses import JOINED_BYTES

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.reads.decision import Decision
    from headgate_gateway.edge.reads.http_cache import Begun, CacheResult
    from headgate_gateway.edge.route import EdgeRoute
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.services import Services
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.rules.served_lifetimes import Recipient
    from headgate_gateway.runtime.request_fields import Own, RequestFields
    from headgate_gateway.web.requests.blocks import KnownRequest
    from headgate_gateway.web.requests.exchange import Exchange
    from headgate_gateway.web.requests.request import ClientConnection, Request


def whole(recipient: Recipient, result: CacheResult) -> RouteAnswer:
    """Return the whole response."""
    cached, source = result.cached, result.source
    read, said, has_cors = cached.facts, cached.said, not cached.own_cors
    if read is None:
        facts = Facts(said.next_offset, said.closed, said.is_end, said.again_s, has_cors)
    else:
        is_end = read.closed and read.is_empty
        facts = Facts(read.next_offset, read.closed, is_end, has_cors=has_cors)
    return RouteAnswer(
        cached.status,
        cached.lines_for(
            recipient, tells_of_tail=result.tail_is_known or result.tells_of_unknown_tail
        ),
        cached.body if source is None else source,
        result.cache,
        facts,
        is_relayed=True,
        has_date=not cached.own_date,
        length=len(cached.body) if source is None else cached.length,
    )


def present(
    request: Request, recipient: Recipient, result: CacheResult, services: Services
) -> RouteAnswer:
    """Return the whole response, the byte range that the request names, or 304.

    Return 416 if the range begins after the end.
    """
    answer, cached, source = whole(recipient, result), result.cached, result.source
    if answer.status != 200 or wants_all(request.headers):
        return answer
    marks = cached.marks(tells_of_tail=result.tail_is_known or result.tells_of_unknown_tail)
    if is_not_modified(request.headers, marks):
        facts = answer.facts if cached.facts is None else replace(answer.facts, is_end=False)
        return replace(answer, status=304, body=source or b"", length=None, facts=facts)
    if source is not None or not cached.may_be_cut or request.method != "GET":
        return answer
    try:
        part = byte_range(request.headers, marks, len(cached.body))
    except RangeNotSatisfiable as refusal:
        return RouteAnswer.of(services.problem(refusal), result.cache)
    if part is None:
        return answer
    begin, end = part
    lines = http1.range_line(begin, end, len(cached.body)) + answer.lines
    return replace(answer, status=206, lines=lines, body=cached.body[begin:end], length=end - begin)


def from_followed(request: Request, response: Response) -> RouteAnswer:
    """Return the answer with known data of a followed stream, or 304 if the client has them."""
    answer = RouteAnswer.of(response, cache_status.COLLAPSED)
    marks = Marks(response.tag, None, None, is_of_stream=True)
    if is_not_modified(request.headers, marks):
        facts = replace(answer.facts, is_end=False)
        return replace(answer, status=304, body=b"", facts=facts)
    return answer


class ReadPlan(Plan, frozen=True, gc=False, eq=False):
    """The decisions on a read with these fields, from one address, below one route to an origin."""

    template: CacheRequest  # for the stream that was read first
    recipient: Recipient | None  # None if it depends on the reader key

    @override
    def ask(self, name: str, connection: ClientConnection, known: KnownRequest) -> ReadAsk | None:
        """Return the ask of a read of the target `name` that the origin has to answer."""
        own, route, services = known.own, self.route, connection.services
        if own.tag is not None or own.has_more:
            return None
        try:
            read = route.parse(name)
        except HeadgateError:
            return None
        if not isinstance(read, CatchUp):
            return None
        request = self.request_for(read, own)
        stream = route.feeds.read_by(request)
        decided = route.cache.decide("GET", request, stream, services.clock())
        is_shared = not (decided.variants or decided.is_hit_for_pass)
        if not (is_shared and decided.use is MISS):
            return None
        came = perf_counter()
        return ReadAsk(self, name, connection, known, came, None, False, request, stream, decided)

    def request_for(self, read: CatchUp, own: Own) -> CacheRequest:
        """Return the request for a read with its own fields, which the origin does not get."""
        headers = self.template.headers
        if own.fields:  # the origin may name them in Vary
            headers = own.added_to(headers)
        lifetime = self.route.requests.lifetimes.by_path.get(read.path, FOREVER)
        return replace(self.template, read=read, headers=headers, lifetime=lifetime)


class ReadAsk(OriginAsk, gc=False, eq=False):
    """A read under way: a `LaterWaiter` of the fetch that brings its response."""

    operation = counted.READ
    plan: ReadPlan
    request: CacheRequest
    stream: FollowedStream | None
    decided: Decision
    begun: Begun | None = None  # until the fetch has its response

    def resume(self, later: Later[CachedResponse], /) -> None:
        """Answer with the response, whose head has come, or with the error of the fetch."""
        begun, self.begun = self.begun, None
        if begun is None:  # the client has left
            return
        error = later.exception()
        if error is not None:
            begun.fetch.leave(begun.reader)
            self.end(error)
            return
        fetch, reader, is_collapsed = begun
        cached, cache = fetch.whole, self.plan.route.cache
        try:
            if cached is None or (is_collapsed and not is_for(fetch, self.request, cached)):
                self.go_on_in_handler(partial(self._carry_out, begun))
                return
            result = cache.result_of(fetch, reader, None, ExitStack, is_collapsed=is_collapsed)
            fetch.leave(reader)
            answered = self._present(result)
        except Exception as failure:  # noqa: BLE001 - its client gets it
            fetch.leave(reader)
            self.end(failure)
            return
        body, facts = answered.body, answered.facts
        is_plain = answered.status == 200 and not (facts.next_offset and facts.is_end is None)
        principal = self.plan.principal
        is_admitted = principal is None or principal.until > self.connection.services.clock()
        is_short = isinstance(body, bytes) and len(body) <= JOINED_BYTES
        if is_plain and is_admitted and is_short:
            self.end(answered)
        else:
            self.go_on_in_handler(partial(self._checked, answered))

    @override
    def count(self, outcome: RouteAnswer, size: int, seconds: float) -> None:
        kind = resumed(counted.resume_kind(self.request.read.offset), outcome)
        assert kind is not None, "others have a handler"
        result = RESULTS.get(outcome.cache.result, counted.MISS)
        traffic = self.plan.route.traffic
        traffic.read(counted.READ, outcome.status, size, seconds, kind, result)

    @override
    def exchange(self) -> Exchange:
        exchange = super().exchange()
        exchange.resume_kind = counted.resume_kind(self.request.read.offset)
        return exchange

    @override
    def cancel(self) -> None:
        """Leave the fetch: the client is gone, or the server stops."""
        begun, self.begun = self.begun, None
        if begun is not None:
            begun.fetch.response.unsubscribe(self)
            begun.fetch.leave(begun.reader)
            self.end(asyncio.CancelledError())

    async def _carry_out(self, begun: Begun, request: Request) -> RouteAnswer:
        """Return the answer of a handler, which reads the rest."""
        request.limit_grace(0.0)
        route, now = self.plan.route, self.connection.services.clock()
        held = request.resources
        result = await route.cache.carry_out(self.decided, self.request, now, held, begun)
        return await self._checked(self._present(result), request)

    async def _checked(self, answered: RouteAnswer, request: Request) -> RouteAnswer:
        """Return the answer if its reader, which has waited, is still admitted."""
        exchange, route = exchange_of(request), self.plan.route
        exchange.decide_again = partial(refuse_ended, route, self.connection.services.clock)
        await check_again(exchange, route, answered)
        return answered

    def _present(self, result: CacheResult) -> RouteAnswer:
        if self.stream is not None:
            note_read(self.stream, self.request, result)
        recipient = self.plan.recipient or self.plan.route.recipient_of(self.request.read)
        return whole(recipient, result)


def note_read(stream: FollowedStream, request: CacheRequest, result: CacheResult) -> None:
    """Pass the data of a read to its followed stream."""
    facts = result.cached.facts
    if facts is not None:
        span = Span(request.start, facts.next_offset, result.cached.body)
        # An answer for one reader alone is no news for others, but an identified reader may
        # have a followed stream of its own.
        is_news = result.cached.joinable or request.identified
        stream.note_read(span, result if is_news else replace(result, current=False))


def read_plan(
    route: EdgeRoute, fields: RequestFields, address: str | None, read: CatchUp
) -> ReadPlan | None:
    """Return the plan of reads like this one; None if they need the handler."""
    if not (route.requests.are_reusable and wants_all(fields.headers)):
        return None
    client = fields.client
    sender = RequestSender(
        address or "", route.requests.scheme, canonical_host(fields.headers.get("Host", ""))
    )
    headers = route.identity.without_cookie(fields.headers)
    template = route.requests.cache_request(headers, sender, read)
    if template.identity:
        return None
    template = replace(template, block=field_block(template.fields))
    principal = None if client is None else client.principal
    recipient = route.recipient_of(read) if route.access.reader_keys is None else None
    key = route, fields, address
    return ReadPlan(key, route, fields, principal, _start, template, recipient)


def _start(_name: str, ask: ReadAsk) -> None:
    """Join a fetch, or begin one."""
    ask.begun = begun = begin(ask.plan.route.cache.fetches, ask.request.fetch_key, ask.request)
    begun.fetch.response.subscribe(ask)
