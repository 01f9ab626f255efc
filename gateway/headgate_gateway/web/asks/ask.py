"""Requests that go by plans: what equal ones have in common is decided once."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.access.principal import Principal
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.bodies.content import is_long, media_type
from headgate_gateway.protocol.bodies.json_text import SLICE_BYTES
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.requests import MAX_INTEGER, Append, AppendHead, CreateRequest
from headgate_gateway.protocol.responses import APPENDED, appended, created
from headgate_gateway.protocol.streams.state import Stamp
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.runtime.loudest import APPENDS, NO_STREAM, OTHERS, RECEIVED, REFUSED, SENT
from headgate_gateway.runtime.request_fields import RequestFields
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.requests.blocks import KnownRequest
from headgate_gateway.web.requests.exchange import Exchange, logged_as
from headgate_gateway.web.requests.request import ClientConnection, Request, counted_client
from headgate_gateway.web.requests.request_head import base_of, scheme_by
from headgate_gateway.web.requests.responses import WireResponse, render

if TYPE_CHECKING:
    from multidict import MultiMapping

    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.lifecycle import CreationOutcome
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.streams.route import HostedRoute


class Plan(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The decisions on a request with these fields. A plan has nothing that can change."""

    key: tuple[object, ...]  # in the table of `Plans`
    route: Any  # a StreamRoute of the kind that has such plans
    fields: RequestFields
    principal: Principal | None
    submit: Callable[[str, Any], None]  # begins an ask, by the name of the stream

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields of its requests, without their own and without a token."""
        return self.fields.headers

    def ask(self, name: str, connection: ClientConnection, known: KnownRequest) -> Ask | None:
        """Return the ask of a request; None if its own values or its body need the handler.

        The handler refuses invalid ones, and waits for long work.
        """
        raise NotImplementedError


class Ask(msgspec.Struct, gc=False, eq=False):
    """A request under way, held by its connection and by its queue until it is answered.

    Nothing refers to it after that, so there is no cycle to collect.
    """

    operation: ClassVar[int]
    outlives_client: ClassVar[bool] = True  # it is carried out even if its client disconnects
    plan: Plan
    name: str  # of the stream
    connection: ClientConnection
    known: KnownRequest
    came: float
    wire: bytes | None  # its response, until earlier responses are written
    is_last: bool  # True if the connection ends with its answer

    def response(self, outcome: Any) -> RouteAnswer:  # noqa: ANN401 - of its queue
        """Return the response to a request that was carried out."""
        raise NotImplementedError

    def answer(self, outcome: Any, common: bytes) -> tuple[int, int]:  # noqa: ANN401 - of its queue
        """Render the response with these `common` lines, and count it.

        Return its status, and the size of its body.
        """
        raise NotImplementedError

    def answered(self, outcome: Any) -> None:  # noqa: ANN401 - of its queue
        """Answer and count the request."""
        connection, plan = self.connection, self.plan
        services, transport = connection.services, connection.wire.transport
        if isinstance(outcome, BaseException) or connection.owner.is_closing or transport is None:
            self._answer_by_handlers(outcome)
            connection.answer_asks()
            return
        own, lines, origin = self.known.own, services.lines, plan.fields.origin
        if origin is None or lines.any_origin:
            common = lines.shared_at(services.clock()) + own.id_line
        else:
            common = lines.own(request_id=own.id, origin=origin, connection=None)
        status, sent = self.answer(outcome, common)
        traffic, principal, size = plan.route.traffic, plan.principal, len(self.known.body)
        traffic.request_bytes += size
        if principal is not None:
            principal.use.count(sent, is_append=self.operation == counted.APPEND)
            principal.use.received_bytes += size
        path = self.known.path if status < 400 else NO_STREAM
        counts = services.loudest.counted[connection.wire.peer, plan, path]
        counts[APPENDS if self.operation == counted.APPEND else OTHERS] += 1
        counts[RECEIVED] += size
        if sent:
            counts[SENT] += sent
        if status >= 400:
            counts[REFUSED] += 1
        if services.log.enabled:
            exchange = self.exchange()
            is_relayed = isinstance(outcome, RouteAnswer)
            exchange.cache = outcome.cache if is_relayed else cache_status.OTHER_METHOD
            exchange.write_line(services.log, status, "answered", sent)
        elif plan.route.access.guard is not None:
            traffic.decisions[counted.ADMITTED] += 1
        connection.answer_asks()

    def exchange(self) -> Exchange:
        """Return the exchange of the request, and count that its plan has admitted it."""
        services, known, route = self.connection.services, self.known, self.plan.route
        logged, headers = None, self.plan.fields.headers
        if services.log.enabled:
            transport = self.connection.wire.transport
            logged = logged_as(known.method, known.path, headers, transport, services)
        own_id, new_id = known.own.id, services.lines.new_request_id
        exchange = Exchange(route.traffic, self.operation, own_id, new_id, logged, self.came)
        exchange.route, exchange.path = route, known.path.partition("?")[0]
        exchange.client = counted_client(self.connection, headers)
        if route.access.guard is not None:
            exchange.admit(self.plan.principal, sends_reader_key=False)
        return exchange

    def _request(self) -> Request:
        """Return the request, as handlers take it."""
        request = Request(self.known, self.known.body, self.connection)
        request.is_followed = len(self.connection.asks) > 1
        request.exchange = self.exchange()
        return request

    def go_on_in_handler(self, handler: Callable[[Request], Any]) -> None:
        """Let a handler answer, if no other request of the connection is under way."""
        try:
            self.connection.start(self._request(), handler)
        except BaseException:  # nothing else would answer the client
            self.abandon()
            raise

    def _answer_by_handlers(self, outcome: Any) -> None:  # noqa: ANN401 - of its queue
        """Render and count the handlers' response for an outcome."""
        connection, request = self.connection, self._request()
        handlers, reply, wire = connection.owner.handlers, None, b""
        try:
            if isinstance(outcome, BaseException):
                reply = handlers.refuse(request, outcome)
            else:
                reply = handlers.answer(request, self.response(outcome))
            if isinstance(reply, WireResponse) and connection.wire.transport is not None:
                wire = reply.take()
        finally:
            request.finish(connection.services.log, stopping=connection.owner.is_closing)
        self.wire, self.is_last = wire, reply is None or not reply.keep_alive

    def abandon(self) -> None:
        """End the connection: its client would wait for ever."""
        self.connection.wire.force_close()

    def on_disconnect(self) -> None:
        """Cancel a request that does not outlive its client, at once or in time."""
        self.cancel()

    def cancel(self) -> None:
        """Cancel the request, because the server stops; a log answers in time by itself."""


class OriginAsk(Ask, gc=False, eq=False):
    """A request under way at an origin, which goes by a plan."""

    outlives_client = False

    @override
    def response(self, outcome: RouteAnswer) -> RouteAnswer:
        return outcome

    @override
    def answer(self, outcome: RouteAnswer, common: bytes) -> tuple[int, int]:
        own, lines = self.known.own, self.connection.services.lines
        has_cors = outcome.facts.has_cors
        if outcome.has_date or has_cors:
            origin, date = self.plan.fields.origin, not outcome.has_date
            common = lines.own(
                request_id=own.id, origin=origin, connection=None, date=date, cors=not has_cors
            )
        is_of_nginx = self.plan.fields.is_of_nginx
        head, body = render(
            self.known.method, outcome, common, varies=lines.varies, is_of_nginx=is_of_nginx
        )
        assert isinstance(body, bytes), "a body in parts has a handler"
        self.wire = b"".join((*head, body))
        self.count(outcome, len(body), perf_counter() - self.came)
        return outcome.status, len(body)

    def count(self, outcome: RouteAnswer, size: int, seconds: float) -> None:
        """Count a response with a body of `size` bytes that came after so many seconds."""
        raise NotImplementedError

    def end(self, outcome: RouteAnswer | BaseException) -> None:
        """Answer the client; end its connection if that fails, as it would wait for ever."""
        try:
            self.answered(outcome)
        except Exception:  # noqa: BLE001 - no error of the origin's connection
            log.exception("request.unanswered")
            self.abandon()


_STORED = http1.STATUS_LINES[204] + b"%b" + cache_status.OTHER_METHOD.lines + b"%b%b\r\n\r\n"


class AppendPlan(Plan, frozen=True, gc=False, eq=False):
    """The decisions on an append with these fields to one path."""

    name: str
    head: AppendHead
    media: str | None  # None if `AppendBatch.decide` has to decide

    @override
    def ask(self, _name: str, connection: ClientConnection, known: KnownRequest) -> Ask | None:
        own, body, producer = known.own, known.body, self.head.producer
        if not body or (producer is None) is not (own.seq is None):
            return None
        if len(body) > SLICE_BYTES and is_long(self.head.content_type, body):
            return None
        media, stamp = self.media, None
        if producer is not None and own.seq is not None:
            seq = int(own.seq)
            if seq > MAX_INTEGER:
                return None
            stamp = Stamp(producer.producer_id, producer.epoch, seq)
        if own.stream_seq is not None:
            media = None  # it is more than plain
        came = perf_counter()
        return AppendAsk(self, self.name, connection, known, came, None, False, body, media, stamp)


def append_plan(
    path: str,
    route: HostedRoute,
    name: str,
    fields: RequestFields,
    head: AppendHead,
    principal: Principal | None,
) -> AppendPlan:
    """Return the plan of an append that was admitted."""
    media = None
    if head.content_type is not None and not (head.close or head.is_multi):
        media = media_type(head.content_type)
    key = path, fields
    return AppendPlan(key, route, fields, principal, route.writes.submit, name, head, media)


class AppendAsk(Ask, gc=False, eq=False):
    """An append under way."""

    operation = counted.APPEND
    is_creation = False
    stream_id = None
    plan: AppendPlan
    body: bytes
    media: str | None
    stamp: Stamp | None

    def parsed(self) -> Append:
        """Return the append with all its fields."""
        return self.plan.fields.append(self.body, self.known.own)

    @override
    def response(self, outcome: AppendOutcome) -> RouteAnswer:
        return RouteAnswer.of(appended(outcome), cache_status.OTHER_METHOD)

    @override
    def answer(self, outcome: AppendOutcome, common: bytes) -> tuple[int, int]:
        """Render the response; its time is counted at the end of the turn."""
        self.plan.route.traffic.stored.append(self.came)
        if outcome.producer is None and not outcome.closed:
            offset = outcome.next_offset.encode()
            self.wire = _STORED % (common, APPENDED, offset)
            return 204, 0
        response = appended(outcome)
        varies = self.connection.services.lines.varies
        common += cache_status.OTHER_METHOD.lines
        self.wire = http1.serialize(response, common, varies=varies)
        return response.status, len(response.body)


class CreationPlan(Plan, frozen=True, gc=False, eq=False):
    """The decisions on a creation with these fields on one route."""

    head: CreateRequest  # without a body

    @override
    def ask(self, name: str, connection: ClientConnection, known: KnownRequest) -> Ask | None:
        body, head = known.body, self.head
        if len(body) > SLICE_BYTES and is_long(head.content_type, body):
            return None
        create = CreateRequest(body, head.content_type, head.lifetime, head.close, None)
        return CreationAsk(self, name, connection, known, perf_counter(), None, False, create, body)


def creation_plan(
    route: HostedRoute, fields: RequestFields, create: CreateRequest, principal: Principal | None
) -> CreationPlan:
    """Return the plan of creations like `create`, which was admitted."""
    key, head = (route, fields), replace(create, body=b"")
    return CreationPlan(key, route, fields, principal, route.writes.submit, head)


class CreationAsk(Ask, gc=False, eq=False):
    """A creation under way."""

    operation = counted.CREATE
    is_creation = True
    request: CreateRequest
    body: bytes

    @override
    def response(self, outcome: CreationOutcome) -> RouteAnswer:
        return RouteAnswer.of(self._created(outcome), cache_status.OTHER_METHOD)

    @override
    def answer(self, outcome: CreationOutcome, common: bytes) -> tuple[int, int]:
        response = self._created(outcome)
        varies = self.connection.services.lines.varies
        common += cache_status.OTHER_METHOD.lines
        self.wire = http1.serialize(response, common, varies=varies)
        seconds = perf_counter() - self.came
        self.plan.route.traffic.answered(counted.CREATE, response.status, 0, seconds)
        return response.status, len(response.body)

    def _created(self, outcome: CreationOutcome) -> Response:
        plan, scheme = self.plan, scheme_by(self.connection.wire.transport)
        base = base_of(plan.fields.headers, scheme)
        return created(outcome, f"{base}{plan.route.prefix}/{self.name}")
