"""Appends and creations by plans: what equal ones have in common is decided once."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from gateway.protocol import http1
from gateway.protocol.bodies.content import is_long, media_type
from gateway.protocol.bodies.json_text import SLICE_BYTES
from gateway.protocol.http.cache_status import OTHER_METHOD
from gateway.protocol.http.header_names import trace_id_of
from gateway.protocol.requests import MAX_INTEGER, Append, AppendHead, CreateRequest
from gateway.protocol.responses import APPENDED, appended, created
from gateway.protocol.streams.state import Stamp
from gateway.routes.answers import RouteAnswer
from gateway.telemetry import traffic as counted
from gateway.web.asks.ask import Ask, Plan
from gateway.web.requests.request_head import base_of, scheme_by

if TYPE_CHECKING:
    from gateway.access.principal import Principal
    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.lifecycle import CreationOutcome
    from gateway.protocol.responses import Response
    from gateway.runtime.request_fields import RequestFields
    from gateway.streams.route import HostedRoute
    from gateway.web.requests.blocks import KnownRequest
    from gateway.web.requests.request import ClientConnection


_STORED = http1.STATUS_LINES[204] + b"%b" + OTHER_METHOD.lines + b"%b%b\r\n\r\n"


class AppendPlan(Plan, frozen=True, gc=False, eq=False):
    """The way of an append with these fields to one path."""

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
        media, stamp, trace_id = self.media, None, None
        if producer is not None and own.seq is not None:
            seq = int(own.seq)
            if seq > MAX_INTEGER:
                return None
            stamp = Stamp(producer.producer_id, producer.epoch, seq)
        if own.stream_seq is not None or own.traceparent is not None:
            media = None  # it is more than plain
            trace_id = trace_id_of(own.traceparent)
        came = perf_counter()
        return AppendAsk(
            self, self.name, connection, known, came, None, False, body, media, stamp, trace_id
        )


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
    trace_id: str | None

    def parsed(self) -> Append:
        """Return the append with all its fields."""
        return self.plan.fields.append(self.body, self.known.own)

    @override
    def response(self, outcome: AppendOutcome) -> RouteAnswer:
        return RouteAnswer.of(appended(outcome), OTHER_METHOD)

    @override
    def answer(self, outcome: AppendOutcome, common: bytes) -> tuple[int, int]:
        """Render the response; its time is counted at the end of the turn."""
        self.plan.route.traffic.stored.append(self.came)
        if outcome.producer is None and not outcome.closed:
            offset = outcome.next_offset.encode()
            self.wire = _STORED % (common, APPENDED, offset)
            return 204, 0
        response = appended(outcome)
        self.wire = http1.serialize(response, common + OTHER_METHOD.lines)
        return response.status, len(response.body)


class CreationPlan(Plan, frozen=True, gc=False, eq=False):
    """The way of a creation with these fields on one route."""

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
        return RouteAnswer.of(self._created(outcome), OTHER_METHOD)

    @override
    def answer(self, outcome: CreationOutcome, common: bytes) -> tuple[int, int]:
        response = self._created(outcome)
        self.wire = http1.serialize(response, common + OTHER_METHOD.lines)
        seconds = perf_counter() - self.came
        self.plan.route.traffic.answered(counted.CREATE, response.status, 0, seconds)
        return response.status, len(response.body)

    def _created(self, outcome: CreationOutcome) -> Response:
        plan, scheme = self.plan, scheme_by(self.connection.wire.transport)
        base = base_of(plan.fields.headers, scheme)
        return created(outcome, f"{base}{plan.route.prefix}/{self.name}")
