"""A request that goes by a plan, from its bytes to its answer."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from typing_extensions import override

from gateway.access.principal import Principal
from gateway.protocol.http import cache_status
from gateway.routes.answers import RouteAnswer
from gateway.runtime.request_fields import RequestFields
from gateway.telemetry import traffic as counted
from gateway.telemetry.access_log import Outcome as LoggedOutcome
from gateway.telemetry.logs import log
from gateway.web.requests.blocks import KnownRequest
from gateway.web.requests.exchange import Exchange, logged_as
from gateway.web.requests.request import ClientConnection, Request
from gateway.web.requests.responses import WireResponse, render

if TYPE_CHECKING:
    from gateway.routes.services import Services


class Plan(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The way of a request with these fields. It holds nothing that can change."""

    key: tuple[object, ...]  # by which `Plans` finds it
    route: Any  # a StreamRoute of the kind that has such plans
    fields: RequestFields
    principal: Principal | None
    submit: Callable[[str, Any], None]  # begins an ask, by the name of the stream

    def ask(self, name: str, connection: ClientConnection, known: KnownRequest) -> Ask | None:
        """Return the ask of a request; None if its own values or its body need the handler.

        The handler refuses what is wrong with them, and waits for long work.
        """
        raise NotImplementedError


class Ask(msgspec.Struct, gc=False, eq=False):
    """A request under way, which its connection, and who answers it, hold until the answer.

    Nothing refers to it after that, so that no cycle is left behind.
    """

    operation: ClassVar[int]
    outlives_client: ClassVar[bool] = True  # it is carried out though its client has left
    plan: Plan
    name: str  # of the stream
    connection: ClientConnection
    known: KnownRequest
    came: float
    wire: bytes | None  # its answer, until those before it are written
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
        if plan.route.access.guard is not None:
            traffic.decisions[counted.ADMITTED] += 1
        if principal is not None:
            principal.use.count(sent, is_append=self.operation == counted.APPEND)
            principal.use.received_bytes += size
        if services.log.enabled:
            is_relayed = isinstance(outcome, RouteAnswer)
            cache = outcome.cache if is_relayed else cache_status.OTHER_METHOD
            _log(self, status, sent, cache.result, services)
        connection.answer_asks()

    def exchange_for(self, request: Request, services: Services) -> Exchange:
        """Return the exchange of the request, which was admitted by its plan."""
        route = self.plan.route
        logged, headers = None, request.headers
        if services.log.enabled:
            logged = logged_as(request.method, request.target, headers, request.transport, services)
        own_id, new_id = self.known.own.id, services.lines.new_request_id
        exchange = Exchange(route.traffic, self.operation, own_id, new_id, logged, self.came)
        exchange.route = route
        if route.access.guard is not None:
            exchange.admit(self.plan.principal, sends_reader_key=False)
        return exchange

    def _request(self) -> Request:
        """Return the request, as handlers take it."""
        request = Request(self.known, self.known.body, self.connection)
        request.is_followed = len(self.connection.asks) > 1
        request.exchange = self.exchange_for(request, self.connection.services)
        return request

    def go_on_in_handler(self, handler: Callable[[Request], Any]) -> None:
        """Let a handler answer, if no other request of the connection is under way."""
        try:
            self.connection.start(self._request(), handler)
        except BaseException:  # nothing else would answer the client
            self.abandon()
            raise

    def _answer_by_handlers(self, outcome: Any) -> None:  # noqa: ANN401 - of its queue
        """Render and count the answer that the handlers have for an outcome."""
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
        """End what does not outlive its client, at once or in time."""
        self.cancel()

    def cancel(self) -> None:
        """Give up what is under way, because the server stops: a log answers in time by itself."""


def _log(ask: Ask, status: int, sent: int, result: str, services: Services) -> None:
    """Write the log line of a write that went by its plan, as `Exchange.write_line` does."""
    plan, known, transport = ask.plan, ask.known, ask.connection.wire.transport
    principal = plan.principal
    outcome = LoggedOutcome(
        known.own.id or services.lines.new_request_id(),
        status,
        sent,
        perf_counter() - ask.came,
        result,
        plan.route.prefix,
        "answered",
        None if principal is None else principal.name,
    )
    asked = logged_as(known.method, known.path, plan.fields.headers, transport, services)
    services.log.line(asked, outcome)


class OriginAsk(Ask, gc=False, eq=False):
    """A request under way at an origin, which goes by a plan."""

    outlives_client = False

    @override
    def response(self, outcome: RouteAnswer) -> RouteAnswer:
        return outcome

    @override
    def answer(self, outcome: RouteAnswer, common: bytes) -> tuple[int, int]:
        own, lines, has_cors = (
            self.known.own,
            self.connection.services.lines,
            outcome.facts.has_cors,
        )
        if outcome.has_date or has_cors:
            origin, date = self.plan.fields.origin, not outcome.has_date
            common = lines.own(
                request_id=own.id, origin=origin, connection=None, date=date, cors=not has_cors
            )
        head, body = render(self.known.method, outcome, common)
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
