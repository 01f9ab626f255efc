"""Appends by plans: what equal appends to one path have in common is decided once."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.protocol import http1
from gateway.protocol.bodies.content import is_long, media_type
from gateway.protocol.bodies.json_slices import SLICE_BYTES
from gateway.protocol.http.trace_context import trace_id_of
from gateway.protocol.requests import MAX_INTEGER, Append, AppendHead
from gateway.protocol.responses import APPENDED, appended
from gateway.protocol.streams.state import Stamp
from gateway.telemetry import traffic as counted
from gateway.web.asks.ask import Ask, Plan

if TYPE_CHECKING:
    from gateway.access.principal import Principal
    from gateway.hosted.route import HostedRoute
    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.responses import Response
    from gateway.runtime.request_fields import RequestFields
    from gateway.web.asks.ask import AskingConnection
    from gateway.web.requests.blocks import KnownRequest

_STORED = http1.STATUS_LINES[204]


class AppendPlan(Plan, frozen=True, gc=False, eq=False):
    """The way of an append with these fields to one path."""

    name: str
    head: AppendHead
    media: str | None  # None if `AppendBatch.decide` has to decide


def append_plan(
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
    return AppendPlan(route, fields, principal, route.appender.submit, name, head, media)


class AppendAsk(Ask, gc=False, eq=False):
    """An append under way."""

    operation = counted.APPEND
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
    def response(self, outcome: AppendOutcome) -> Response:
        return appended(outcome)

    @override
    def answer(self, outcome: AppendOutcome, common: bytes) -> int:
        """Render the response; its time is counted at the end of the turn."""
        self.plan.route.traffic.stored.append(self.came)
        if outcome.producer is None and not outcome.closed:
            offset = outcome.next_offset.encode()
            self.wire = b"%b%b%b%b\r\n\r\n" % (_STORED, common, APPENDED, offset)
            return 204
        response = appended(outcome)
        self.wire = http1.serialize(response, common)
        return response.status


def append_ask(plan: AppendPlan, connection: AskingConnection, known: KnownRequest) -> Ask | None:
    """Return the ask of an append; None if its own values or its body need the handler.

    The handler refuses what is wrong with them, and waits for long work.
    """
    own, body, producer = known.own, known.body, plan.head.producer
    if not body or (producer is None) is not (own.seq is None):
        return None
    if len(body) > SLICE_BYTES and is_long(plan.head.content_type, body):
        return None
    media, stamp, trace_id = plan.media, None, None
    if producer is not None and own.seq is not None:
        seq = int(own.seq)
        if seq > MAX_INTEGER:
            return None
        stamp = Stamp(producer.producer_id, producer.epoch, seq)
    if own.stream_seq is not None or own.traceparent is not None:
        media = None  # it is more than plain
        trace_id = trace_id_of(own.traceparent)
    came, name = perf_counter(), plan.name
    return AppendAsk(plan, name, connection, known, came, None, False, body, media, stamp, trace_id)
