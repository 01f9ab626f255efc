"""Present the cache's result to a reader; the handlers for HTTP origins call this last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.order import BEFORE_ALL
from gateway.cache.rules import conditional
from gateway.cache.rules.cached_response import fields_of
from gateway.errors import RangeNotSatisfiable
from gateway.protocol import http1
from gateway.runtime.answer import RelayedResponse, RouteAnswer

if TYPE_CHECKING:
    from gateway.cache.cache_result import CacheResult
    from gateway.cache.rules.cached_response import CachedResponse
    from gateway.cache.rules.private_fields import Recipient
    from gateway.runtime.context import Context
    from gateway.web.requests.request import Request


def present(
    request: Request, recipient: Recipient, result: CacheResult, shared: Context
) -> RouteAnswer:
    """Return the whole response, the byte range that the request names, or 304.

    Return 416 if the range begins behind the end.
    """
    cached, source = result.cached, result.source
    is_new, known = result.number != BEFORE_ALL, result.tail_is_known
    status, head = cached.status, cached.head_for(recipient, known=known, is_new=is_new)
    body = cached.body if source is None else source
    length = len(cached.body) if source is None else cached.length
    if status == 200 and not conditional.wants_all(request.headers):
        fields = fields_of(head)
        if conditional.not_modified(request.headers, 200, fields):
            status, body, length = 304, source or b"", None
            head = http1.status_line(304) + head.partition(b"\r\n")[2]
        elif source is None and cached.may_be_cut and request.method == "GET":
            try:
                status, head, body = _part(request, cached, head) or (200, head, cached.body)
            except RangeNotSatisfiable as refusal:
                return RouteAnswer(shared.problem(refusal), result.cache)
            length = len(body)
    relayed = RelayedResponse(status, head, body, length, cached.own_date, cached.own_cors)
    return RouteAnswer(relayed, result.cache)


def _part(request: Request, cached: CachedResponse, head: bytes) -> tuple[int, bytes, bytes] | None:
    """Return status, head and body for the requested byte range, or None without one.

    Raises RangeNotSatisfiable.
    """
    size = len(cached.body)
    requested = conditional.byte_range(request.headers, fields_of(head), size)
    if requested is None:
        return None
    begin, end = requested
    return 206, http1.partial_content(head, begin, end, size), cached.body[begin:end]
