"""An append that goes by a plan, from its bytes to its answer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.errors import HeadgateError
from gateway.protocol import http1
from gateway.protocol.bodies.content import is_long
from gateway.protocol.bodies.json_slices import SLICE_BYTES
from gateway.protocol.http import cache_status
from gateway.protocol.http.trace_context import trace_id_of
from gateway.protocol.requests import MAX_INTEGER, Append
from gateway.protocol.responses import APPENDED, appended
from gateway.protocol.streams.state import Stamp
from gateway.runtime.exchange import Exchange
from gateway.telemetry import traffic as counted
from gateway.telemetry.access_log import Outcome as LoggedOutcome
from gateway.web import accounting
from gateway.web.asks.plans import Plan
from gateway.web.requests.blocks import KnownRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from gateway.protocol.appends import AppendOutcome
    from gateway.runtime.context import Context
    from gateway.streams.append_outcomes import Outcome
    from gateway.web.requests.request import Request

_STORED = http1.status_line(204)


class AskingConnection(Protocol):
    """A client's connection, as its asks use it."""

    shared: Context
    asks: Sequence[Ask]

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""

    def answer_asks(self) -> None:
        """Write the answers that are due, in the order of their requests."""

    def answer_by_handlers(self, ask: Ask, outcome: Outcome, /) -> None:
        """Give an ask the answer that the handlers have for an outcome, and count it."""

    def abandon(self) -> None:
        """End the connection."""


class Ask(msgspec.Struct, gc=False, eq=False):
    """An append under way, which its connection and the queue of its log hold until the answer.

    Nothing refers to it after that, so that no cycle is left behind.
    """

    plan: Plan
    connection: AskingConnection
    request: KnownRequest
    body: bytes
    media: str | None
    stamp: Stamp | None
    trace_id: str | None
    came: float
    wire: bytes | None = None  # its answer, until those before it are written
    is_last: bool = False  # True if the connection ends with its answer

    def parsed(self) -> Append:
        """Return the append with all its fields."""
        return self.plan.fields.append(self.body, self.request.own)

    def answered(self, outcome: Outcome) -> None:
        """Answer and count the append."""
        connection = self.connection
        closing, transport = connection.shared.closing, connection.transport
        if isinstance(outcome, HeadgateError) or closing or transport is None:
            connection.answer_by_handlers(self, outcome)
        else:
            self._stored(outcome, connection.shared)
        connection.answer_asks()

    def abandon(self) -> None:
        """End the connection: its client would wait for ever."""
        self.connection.abandon()

    def _stored(self, outcome: AppendOutcome, shared: Context) -> None:
        """Render the answer, and count the append; its time is counted at the end of the turn."""
        plan, own, lines, size = self.plan, self.request.own, shared.lines, len(self.body)
        origin = plan.fields.origin
        if own.id is None and (origin is None or lines.any_origin):
            common = lines.shared_at(shared.clock())
        else:
            common = lines.own(request_id=own.id, origin=origin, connection=None)
        common += cache_status.OTHER_METHOD
        if outcome.producer is None and not outcome.closed:
            offset = outcome.next_offset.encode()
            self.wire = b"%b%b%b%b\r\n\r\n" % (_STORED, common, APPENDED, offset)
        else:
            self.wire = http1.serialize(appended(outcome), common)
        traffic = plan.route.traffic
        traffic.request_bytes += size
        traffic.stored.append(self.came)
        if plan.route.access.guard is not None:
            traffic.decisions[counted.ADMITTED] += 1
        if plan.principal is not None:
            plan.principal.use.count(0, is_append=True)
            plan.principal.use.received_bytes += size
        if shared.log.enabled:
            is_new = outcome.producer is not None and outcome.stored
            _log(self, 200 if is_new else 204, shared)


def ask_of(plan: Plan, connection: AskingConnection, request: KnownRequest) -> Ask | None:
    """Return the ask of a request; None if its own values or its body need the handler.

    The handler refuses what is wrong with them, and waits for long work.
    """
    own, body, producer = request.own, request.body, plan.head.producer
    is_right = body and len(body) <= connection.shared.limits.max_append
    if not is_right or (producer is None) is not (own.seq is None):
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
    return Ask(plan, connection, request, body, media, stamp, trace_id, perf_counter())


def exchange_of_ask(ask: Ask, request: Request, shared: Context) -> Exchange:
    """Return the exchange of an append that was admitted by its plan."""
    route = ask.plan.route
    logged = accounting.logged_request(request, shared) if shared.log.enabled else None
    own_id, new_id = ask.request.own.id, shared.lines.new_request_id
    exchange = Exchange(route.traffic, counted.APPEND, own_id, new_id, logged, ask.came)
    exchange.assign_route(route.prefix, route.traffic, conceals=route.access.conceals)
    if route.access.guard is not None:
        exchange.admit(ask.plan.principal, sends_reader_key=False)
    return exchange


def _log(ask: Ask, status: int, shared: Context) -> None:
    """Write the log line of an append that went by its plan, as `Exchange.write_line` does."""
    plan, request, transport = ask.plan, ask.request, ask.connection.transport
    principal = plan.principal
    outcome = LoggedOutcome(
        request.own.id or shared.lines.new_request_id(),
        status,
        0,
        perf_counter() - ask.came,
        cache_status.x_cache(cache_status.OTHER_METHOD) or "none",
        plan.route.prefix,
        "answered",
        None if principal is None else principal.name,
    )
    asked = accounting.logged_as("POST", request.path, plan.fields.headers, transport, shared)
    shared.log.line(asked, outcome)
