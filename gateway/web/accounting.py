"""Count and log requests: by operation, by where a read begins, and by its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from gateway.access.credentials import without_secrets
from gateway.errors import (
    BadRequest,
    ClientLimitReached,
    HeadgateError,
    LimitReached,
    NotOffered,
    ServerStopping,
)
from gateway.protocol.requests import CatchUp, Events, LongPoll, with_last_event_id
from gateway.routes.exchange import Exchange
from gateway.telemetry import traffic as counted
from gateway.telemetry.access_log import LoggedRequest
from gateway.web.requests import request_head

if TYPE_CHECKING:
    import asyncio

    from multidict import MultiMapping

    from gateway.routes.contract import StreamRoute
    from gateway.routes.exchange import RouteAnswer
    from gateway.routes.services import Services
    from gateway.web.requests.request import Request

# Reads refused with these errors do not count for the hit ratio of the cache.
NOT_LOOKED_UP = (BadRequest, ClientLimitReached, LimitReached, NotOffered, ServerStopping)

_OPERATIONS = {
    "GET": counted.READ,
    "HEAD": counted.HEAD,
    "POST": counted.APPEND,
    "PUT": counted.CREATE,
    "DELETE": counted.DELETE,
    "OPTIONS": counted.OPTIONS,
}


def exchange_for(request: Request, services: Services) -> Exchange:
    """Return the exchange of a request, from its head alone."""
    operation = _OPERATIONS.get(request.method, counted.OTHER)
    if operation == counted.APPEND and request.fields.closes:
        operation = counted.CLOSE
    is_known = request.fields.are_known
    own_id = request.own.id if is_known else request_head.client_request_id(request)
    logged = logged_request(request, services) if services.log.enabled else None
    return Exchange(services.unrouted, operation, own_id, services.lines.new_request_id, logged)


def logged_request(request: Request, services: Services) -> LoggedRequest:
    """Return what an access log line says about the request."""
    return logged_as(request.method, request.target, request.headers, request.transport, services)


def logged_as(
    method: str,
    target: str,
    headers: MultiMapping[str],
    transport: asyncio.Transport | None,
    services: Services,
) -> LoggedRequest:
    """Return what an access log line says about a request with these; no secret of its target."""
    if services.lines.is_guarded:
        target = without_secrets(target)
    forwarded_for = headers.get(hdrs.X_FORWARDED_FOR) or headers.get(hdrs.FORWARDED)
    client = services.quotas.client_address(transport, headers)
    return LoggedRequest(method, target, client, forwarded_for, headers.get(hdrs.USER_AGENT))


def note_read(
    exchange: Exchange, request: Request, route: StreamRoute, target: str, now: float
) -> None:
    """Note where an admitted read begins, and whether it is live."""
    if exchange.operation != counted.READ:
        return
    try:
        read = route.parse(target)
    except HeadgateError:
        return  # the handler refuses it for that
    exchange.resume_kind = counted.resume_kind(read.offset)
    if isinstance(read, CatchUp):
        return
    if isinstance(read, Events) and with_last_event_id(read, request.headers).last_event_id:
        exchange.resume_kind = counted.OFFSET
    exchange.operation = counted.LONG_POLL if isinstance(read, LongPoll) else counted.SSE
    route.traffic.note_cursor(read.cursor, now)


def resumed(kind: int, answered: RouteAnswer) -> int | None:
    """Return where a read of this resume kind counts as begun, by its answer.

    It is NOWHERE if the answer shows no stream, and None if its body decides, which still comes.
    """
    status, facts = answered.status, answered.facts
    if status in {400, 410}:
        return counted.GAP if kind == counted.OFFSET else counted.NOWHERE
    if (status >= 300 and status != 304) or not facts.next_offset:
        return counted.NOWHERE  # an origin has something else there than a stream
    if facts.is_end is None:
        return None
    return counted.TERMINAL if facts.is_end else kind
