"""Count and log requests: by operation, by where a read begins, and by its answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import hdrs

from gateway.access.credentials import without_secrets
from gateway.cache.rendered import RenderedChunk
from gateway.errors import (
    BadRequest,
    ClientLimitReached,
    HeadgateError,
    LimitReached,
    NotOffered,
    ServerStopping,
)
from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.protocol.origins.repair import EMPTY_BYTES
from gateway.protocol.requests import CatchUp, Events, LongPoll, with_last_event_id
from gateway.protocol.responses import CLOSED_LINE
from gateway.runtime.answer import RelayedResponse
from gateway.runtime.exchange import Exchange
from gateway.telemetry import traffic as counted
from gateway.telemetry.access_log import LoggedRequest
from gateway.web.requests import request_head

if TYPE_CHECKING:
    import asyncio

    from multidict import MultiMapping

    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.runtime.route import StreamRoute
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
_NEXT_OFFSET = f"{NEXT_OFFSET}: ".lower().encode()
_CLOSED = CLOSED_LINE.lower().encode()


def exchange_for(request: Request, shared: Context) -> Exchange:
    """Return the exchange of a request, from its head alone."""
    operation = _OPERATIONS.get(request.method, counted.OTHER)
    if operation == counted.APPEND and request.fields.closes:
        operation = counted.CLOSE
    is_known = request.fields.are_known
    own_id = request.own.id if is_known else request_head.client_request_id(request)
    logged = logged_request(request, shared) if shared.log.enabled else None
    return Exchange(shared.unrouted, operation, own_id, shared.lines.new_request_id, logged)


def logged_request(request: Request, shared: Context) -> LoggedRequest:
    """Return what an access log line says about the request."""
    target = without_secrets(request.target) if shared.lines.is_guarded else request.target
    return logged_as(request.method, target, request.headers, request.transport, shared)


def logged_as(
    method: str,
    target: str,
    headers: MultiMapping[str],
    transport: asyncio.Transport | None,
    shared: Context,
) -> LoggedRequest:
    """Return what an access log line says about a request with these."""
    forwarded_for = headers.get(hdrs.X_FORWARDED_FOR) or headers.get(hdrs.FORWARDED)
    client = shared.quotas.client_address(transport, headers)
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


def note_answer(
    exchange: Exchange, answer: RenderedChunk | Response | RelayedResponse, status: int
) -> None:
    """Correct where a read counts as begun, by its answer."""
    if not isinstance(answer, RenderedChunk):
        head, size = _head(answer)
        by_size = partial(read_from, exchange.resume_kind, status, head)
        exchange.resume_kind = by_size(size)
        if size is None:
            exchange.resume_kind_by_size = by_size
    elif answer.is_end:
        exchange.resume_kind = counted.TERMINAL


def read_from(resume_kind: int, status: int, head: bytes, size: int | None) -> int:
    """Return where a read counts as begun, by its answer with a body of `size` bytes.

    A size of None is unknown before the body's end, and taken for data. An answer that shows no
    stream counts as NOWHERE.
    """
    if resume_kind == counted.NOWHERE:
        return resume_kind
    if status in {400, 410}:
        return counted.GAP if resume_kind == counted.OFFSET else counted.NOWHERE
    if status >= 300 and status != 304:
        return counted.NOWHERE
    fields = head.lower()
    if _NEXT_OFFSET not in fields:
        return counted.NOWHERE  # the origin has something else there than a stream
    is_empty = status == 204 or (status != 304 and size is not None and size <= EMPTY_BYTES)
    return counted.TERMINAL if is_empty and _CLOSED in fields else resume_kind


def _head(answer: Response | RelayedResponse) -> tuple[bytes, int | None]:
    """Return the head of an answer, and the size of its body if it is known."""
    if isinstance(answer, RelayedResponse):
        return answer.head, answer.length
    return answer.fields.encode("latin-1", "replace"), len(answer.body)
