"""Dispatch requests: find the route, admit, operate, and always answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from typing import TYPE_CHECKING, Any

from aiohttp.web import RequestPayloadError

from headgate_gateway.errors import (
    OF_THE_ORIGIN,
    HeadgateError,
    LimitReached,
    RequestTimeout,
    drop_frames,
)
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.bodies.content import EVENTS_TYPE
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.paths import check_whole, split
from headgate_gateway.protocol.responses import event_stream_later
from headgate_gateway.protocol.views import AS_EVENTS
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.stepped import outcome_of
from headgate_gateway.telemetry import tracing
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.traffic import NOWHERE, READ
from headgate_gateway.web import admission
from headgate_gateway.web.asks.plans import LONGEST_PATH
from headgate_gateway.web.handlers.front_page import HEALTH_PATH, ServerPaths, front_page, health
from headgate_gateway.web.operations import OF_STREAMS, check_web_origin, preflight
from headgate_gateway.web.requests import request_head
from headgate_gateway.web.requests.exchange import CLIENT_GONE, NOT_LOOKED_UP, resumed
from headgate_gateway.web.requests.request import exchange_of, note_read
from headgate_gateway.web.requests.responses import StreamedResponse, WireResponse, render
from headgate_gateway.web.routed_request import RoutedRequest, answer_control
from headgate_gateway.web.server_spans import ServerSpans

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from headgate_gateway.access.credentials import RequestCredential
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.http.cache_status import CacheUse
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import RoutedTarget, Router
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.spans import RequestSpan
    from headgate_gateway.web.operations import RouteOperations
    from headgate_gateway.web.requests.exchange import Exchange
    from headgate_gateway.web.requests.request import Request


class Handlers:
    """The handlers of all routes: connections call `handle`, then `answer` or `refuse`."""

    def __init__(
        self,
        routes: Router,
        operations: Mapping[type[StreamRoute], RouteOperations],
        services: Services,
    ) -> None:
        """Carry out requests by the kind of their route, those to control paths by its features.

        With a tracer each request has a span, current while it is handled.
        """
        self._spans = None if services.tracer is None else ServerSpans(services.tracer, routes)
        self._routes = routes
        self._services = services
        self._clock = services.clock
        self._lines = services.lines
        self._operations = operations

    def handle(
        self, request: Request, span: RequestSpan | None = None
    ) -> RouteAnswer | Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | WireResponse | None]:
        """Return the outcome of a request, or what to wait for. Raises HeadgateError."""
        if self._spans is not None and span is None:
            return self._handle_traced(request, self._spans.start(request))
        exchange = request.begin(self._services)
        place = self._find_target(request)
        if isinstance(place, RouteAnswer):
            return place
        exchange.route, exchange.traffic = place.route, place.route.traffic
        if place.control is None and place.route.has_streams:
            exchange.path = place.path
        credential = admission.admit_at_once(request, exchange, place, self._clock)
        if credential is None:
            return self._operate_if_admitted(request, exchange, place)
        return self._operate(request, exchange, place, credential)

    async def _handle_traced(self, request: Request, span: RequestSpan) -> WireResponse | None:
        """Return the reply to a request; its span ends before the reply is sent."""
        token = tracing.current.set(span)
        try:
            response = await self._reply(request, span)
        except asyncio.CancelledError:
            span.failed("client_gone")
            raise
        else:
            status = 200 if response is None else response.status
            if status == CLIENT_GONE:
                span.failed("client_gone")
            else:
                span.answered(status)
            return response
        finally:
            tracing.current.reset(token)
            span.end()

    async def _reply(self, request: Request, span: RequestSpan) -> WireResponse | None:
        try:
            return self.answer(request, await outcome_of(self.handle(request, span)))
        except Exception as error:
            refusal = self.refuse(request, error)
            if refusal is None:
                raise
            return refusal

    async def _operate_if_admitted(
        self, request: Request, exchange: Exchange, place: RoutedTarget
    ) -> RouteAnswer | None:
        credential = await admission.admit(request, exchange, place, self._clock)
        answered: RouteAnswer | None = await outcome_of(
            self._operate(request, exchange, place, credential)
        )
        return answered

    def _operate(
        self,
        request: Request,
        exchange: Exchange,
        place: RoutedTarget,
        credential: RequestCredential,
    ) -> RouteAnswer | Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None]:
        """Return the outcome of an admitted request, or what to wait for."""
        route = place.route
        operations = self._operations[type(route)]
        if self._services.bans.in_force:
            admission.refuse_banned(request, exchange, self._services.bans)
        if request.method == "GET":
            note_read(exchange, request, route, credential.target, self._clock())
        else:
            if request.fields.origin is not None:
                has_token = exchange.principal is not None and operations.has_token(
                    route, request.headers, credential.token
                )
                is_guarded = route.access.guard is not None
                check_web_origin(request, self._lines, is_guarded=is_guarded, has_token=has_token)
            admission.charge(request, exchange, self._services)
        control = place.control
        if control is not None:
            return answer_control(control, RoutedRequest(request, place, self._services))
        outcome = operations.operate(request, credential.target, route, place.name)
        if exchange.decide_again is not None and exchange.operation == READ:
            return self._check_again(outcome, exchange, route)
        return outcome

    @staticmethod
    async def _check_again(
        outcome: RouteAnswer | Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None],
        exchange: Exchange,
        route: StreamRoute,
    ) -> RouteAnswer | None:
        """Return the answer if its reader, which may have waited, is still admitted."""
        answered: RouteAnswer | None = await outcome_of(outcome)
        if answered is not None:
            await admission.check_again(exchange, route, answered)
        return answered

    def refuse(self, request: Request, error: BaseException) -> WireResponse | None:
        """Return the reply to a request that failed.

        Return None if it was cancelled, or failed before its exchange began.
        """
        if isinstance(error, ConnectionError):
            return WireResponse(CLIENT_GONE, (), keep_alive=False)
        if request.exchange is None or not isinstance(error, Exception):
            return None
        abandon = isinstance(error, RequestTimeout | RequestPayloadError)
        if isinstance(error, LimitReached):  # its connection might keep others from being answered
            abandon = error.ends_connection or self._services.limits.is_crowded
        reply = self.answer(request, self._refusal(request, error), abandon=abandon)
        drop_frames(error)
        return reply

    def answer(
        self,
        request: Request,
        answered: RouteAnswer | WireResponse | None,
        *,
        abandon: bool = False,
    ) -> WireResponse | None:
        """Return the reply with an answer; None if the connection was handed over.

        The reply to a traced request has been made while its span was current.
        """
        if answered is None or isinstance(answered, WireResponse):
            return answered
        exchange = request.exchange
        assert exchange is not None, "`handle` has made it"
        if exchange.route is not None and exchange.route.access.conceals:
            answered = admission.conceal(answered, self._services)
        status = answered.status
        if exchange.resume_kind != NOWHERE:
            kind = resumed(exchange.resume_kind, answered)
            exchange.ends_if_empty = kind is None
            if kind is not None:
                exchange.resume_kind = kind
        request_id = exchange.client_request_id
        if status >= 400:
            request_id = exchange.request_id
            self._note_refusal(request, exchange, answered)
        cache = answered.cache
        if status in PASSING and is_event_source(request):
            answered = retry_stream(answered, status)
        response = self._response(request, answered, request_id, abandon=abandon)
        exchange.sent, exchange.cache = response, cache
        return response

    def _note_refusal(self, request: Request, exchange: Exchange, answered: RouteAnswer) -> None:
        """Note a response with 4xx or 5xx for the console, with the sentence that is sent."""
        services = self._services
        client = services.quotas.client_address(request.transport, request.headers)
        body = b"" if answered.is_relayed else answered.body
        assert isinstance(body, bytes), "only a relayed body still comes"
        services.refusals.note(exchange.request_id, exchange.prefix, answered.status, body, client)

    def _refusal(self, request: Request, error: Exception) -> RouteAnswer:
        exchange = exchange_of(request)
        if isinstance(error, HeadgateError):
            if isinstance(error, NOT_LOOKED_UP):
                exchange.is_looked_up = False
            problem = self._services.problem(error)
            if exchange.route is not None:
                operations = self._operations[type(exchange.route)]
                operations.note_failure(exchange.route, error, request)
                problem = operations.error_response(error, problem)
            return RouteAnswer.of(problem, _cache_use(request, error))
        if isinstance(error, RequestPayloadError):
            bad = request_head.bad_body(error)
            return RouteAnswer.of(self._services.problem(bad), cache_status.BYPASS)
        # A bug: the client gets a 500, and the log the traceback.
        request_id, method = exchange.request_id, request.method
        log.error("request.failed", exc_info=error, request_id=request_id, method=method)
        return RouteAnswer.of(responses.internal_error(request_id), cache_status.BYPASS)

    def _find_target(self, request: Request) -> RoutedTarget | RouteAnswer:
        """Return the routed target of a request, or the answer to one that is for no stream.

        Raises HeadgateError.
        """
        # The query may have a token, which must not be remembered.
        raw, mark, query = request.target.partition("?")
        if not request.fields.are_known:
            request_head.check(request)
            # Load balancers check health by address.
            if raw != HEALTH_PATH and _HEALTH_URL.fullmatch(raw) is None:
                self._services.hosts.check(request.headers.get("Host", ""))
        is_path = raw.startswith("/") and 1 < len(raw) <= LONGEST_PATH
        if is_path and request.method != "OPTIONS":
            if raw == HEALTH_PATH:
                return self._own_page(request, raw)
            place = self._routes.place(raw)
            if not mark:
                return place
            check_whole(query)
            target = f"{place.path}?{query}"
            return place._replace(target=target)
        target = request_head.target(request)
        if request.method == "OPTIONS" and (
            target == "*" or "Access-Control-Request-Method" in request.headers
        ):
            return RouteAnswer.of(self._preflight(request, target), cache_status.OTHER_METHOD)
        path, _ = split(target)
        if path in {"/", HEALTH_PATH}:
            return self._own_page(request, path)
        return self._routes.find_place(path)._replace(target=target)

    def _preflight(self, request: Request, target: str) -> Response:
        """Return the response to a CORS preflight; the target `*` has no route, and so no guard."""
        fields, has_guard = OF_STREAMS, False
        with contextlib.suppress(HeadgateError):
            route, _ = self._routes.find(split(target)[0])
            fields = self._operations[type(route)].page_fields(route)
            has_guard = route.access.guard is not None
        is_guarded = self._lines.is_guarded and has_guard
        return preflight(request, self._lines, fields, is_guarded=is_guarded)

    def _own_page(self, request: Request, path: str) -> RouteAnswer:
        """Return the health check if the path is its own, else the front page."""
        if path == HEALTH_PATH:
            return RouteAnswer.of(health(request.method), cache_status.BYPASS)
        accept = ",".join(request.headers.getall("Accept", ()))
        base_url = request_head.base_url(request)
        routes = self._routes
        paths = ServerPaths(
            base_url, routes.prefixes, routes.prefixes_passed_on, routes.entrances()
        )
        page = front_page(request.method, paths, accept)
        return RouteAnswer.of(page, cache_status.BYPASS)

    def _response(
        self,
        request: Request,
        answered: RouteAnswer,
        request_id: str | None,
        *,
        abandon: bool,
    ) -> WireResponse:
        is_closing = request.connection.owner.is_closing
        ends = request.is_last or (is_closing and not request.is_followed)
        keep_alive = not (abandon or ends)
        connection = None
        is_http_1_0 = request.version.minor == 0
        if is_http_1_0:
            keep_alive = keep_alive and not _ends_with_connection(request, answered)
            connection = "keep-alive"
        if not keep_alive:
            connection = "close"
        common = self._lines.own(
            request_id=request_id,
            origin=request.fields.origin,
            connection=connection,
            date=not answered.has_date,
            cors=not answered.facts.has_cors,
        )
        is_of_nginx = request.fields.is_of_nginx
        head, body = render(
            request.method,
            answered,
            common,
            varies=self._lines.varies,
            is_http_1_0=is_http_1_0,
            is_of_nginx=is_of_nginx,
        )
        status = answered.status
        if isinstance(body, bytes):
            return WireResponse(status, head, body, keep_alive=keep_alive, abandon=abandon)
        return StreamedResponse(
            status,
            head,
            body,
            chunked=answered.length is None and not is_http_1_0,
            keep_alive=keep_alive,
            abandon=abandon,
        )


def _cache_use(request: Request, refusal: HeadgateError) -> CacheUse:
    if not isinstance(refusal, OF_THE_ORIGIN):
        return cache_status.BYPASS
    return cache_status.FAILED if request.method == "GET" else cache_status.OTHER_METHOD


def _ends_with_connection(request: Request, answered: RouteAnswer) -> bool:
    """Return whether the connection's end marks the body's end, for an HTTP/1.0 client."""
    has_length = answered.length is not None or not answered.is_relayed
    return not has_length and request.method != "HEAD"


# Statuses that may change soon: a limit, an origin that is down or slow, a server that stops.
PASSING = frozenset({429, 502, 503, 504})
MOST_WAIT_S = 10  # an EventSource uses the time for all later reconnects, too
USUAL_WAIT_S = 2
SPREAD_MS = 1000

_HEALTH_URL = re.compile(rf"(?i:https?)://[^/?#]+{HEALTH_PATH}")
_FOLLOWS = re.compile(rf"[?&](?:live=sse|view=(?:{'|'.join(AS_EVENTS)}))(?:&|$)")


def is_event_source(request: Request) -> bool:
    """Return whether a request is an EventSource's for SSE.

    By the HTML standard each EventSource sends both fields. A client that sets only Accept, and
    looks at the status, gets the status.
    """
    if request.method != "GET" or _FOLLOWS.search(request.target) is None:
        return False
    accept, caching = (request.headers.get(name, "") for name in ("Accept", "Cache-Control"))
    return EVENTS_TYPE in accept and "no-cache" in caching


def retry_stream(refused: RouteAnswer, status: int) -> RouteAnswer:
    """Return an event stream that only says when to reconnect, instead of a refusal.

    An error status would close an EventSource for good.
    """
    if not isinstance(refused.body, bytes):
        refused.body.release()
    again_s = refused.facts.again_s
    wait_s = USUAL_WAIT_S if again_s is None else min(again_s, MOST_WAIT_S)
    # No sooner than Retry-After says, and a herd of readers does not come back as one.
    wait_ms = wait_s * 1000 + random.randrange(SPREAD_MS)  # noqa: S311 - not a secret
    return RouteAnswer.of(event_stream_later(status, wait_ms), refused.cache)
