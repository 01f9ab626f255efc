"""Present the cache's result to a reader; the handlers for HTTP origins call this last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.order import BEFORE_ALL
from gateway.cache.rules import conditional
from gateway.cache.rules.cached_response import fields_of
from gateway.errors import RangeNotSatisfiable
from gateway.protocol import http1
from gateway.protocol.facts import Facts
from gateway.runtime.answer import RouteAnswer

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
    status, lines = cached.status, cached.lines_for(recipient, known=known, is_new=is_new)
    body = cached.body if source is None else source
    length = len(cached.body) if source is None else cached.length
    if status == 200 and not conditional.wants_all(request.headers):
        fields = fields_of(lines)
        if conditional.not_modified(request.headers, 200, fields):
            status, body, length = 304, source or b"", None
        elif source is None and cached.may_be_cut and request.method == "GET":
            try:
                status, lines, body = _part(request, cached, lines) or (200, lines, cached.body)
            except RangeNotSatisfiable as refusal:
                return RouteAnswer.of(shared.problem(refusal), result.cache)
            length = len(body)
    read, said, has_cors = cached.facts, cached.said, not cached.own_cors
    if read is None:
        facts = Facts(said.next_offset, said.closed, said.is_end, said.again_s, has_cors)
    else:
        is_end = read.closed and read.is_empty and status != 304
        facts = Facts(read.next_offset, read.closed, is_end, has_cors=has_cors)
    return RouteAnswer(
        status,
        lines,
        body,
        result.cache,
        facts,
        is_relayed=True,
        has_date=not cached.own_date,
        length=length,
    )


def _part(
    request: Request, cached: CachedResponse, lines: bytes
) -> tuple[int, bytes, bytes] | None:
    """Return status, lines and body for the requested byte range, or None without one.

    Raises RangeNotSatisfiable.
    """
    size = len(cached.body)
    requested = conditional.byte_range(request.headers, fields_of(lines), size)
    if requested is None:
        return None
    begin, end = requested
    return 206, http1.range_line(begin, end, size) + lines, cached.body[begin:end]
