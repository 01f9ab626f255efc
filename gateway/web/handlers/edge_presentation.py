"""Present the cache's result to a reader; the handlers for HTTP origins call this last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.reads.order import BEFORE_ALL
from gateway.edge.rules import conditional
from gateway.errors import RangeNotSatisfiable
from gateway.protocol import http1
from gateway.protocol.facts import Facts
from gateway.runtime.answer import RouteAnswer

if TYPE_CHECKING:
    from gateway.edge.reads.http_cache import CacheResult
    from gateway.edge.rules.private_fields import Recipient
    from gateway.runtime.context import Context
    from gateway.web.requests.blocks import KnownRequest
    from gateway.web.requests.request import Request


def present(
    request: Request | KnownRequest, recipient: Recipient, result: CacheResult, shared: Context
) -> RouteAnswer:
    """Return the whole response, the byte range that the request names, or 304.

    Return 416 if the range begins behind the end.
    """
    cached, source = result.cached, result.source
    is_new = result.number != BEFORE_ALL
    tells = result.tail_is_known or cached.tells_of_unknown_tail(is_new=is_new)
    status, lines = cached.status, cached.lines_for(recipient, tells_of_tail=tells)
    body = cached.body if source is None else source
    length = len(cached.body) if source is None else cached.length
    if status == 200 and not conditional.wants_all(request.headers):
        marks = cached.marks(tells_of_tail=tells)
        if conditional.is_not_modified(request.headers, marks):
            status, body, length = 304, source or b"", None
        elif source is None and cached.may_be_cut and request.method == "GET":
            try:
                part = conditional.byte_range(request.headers, marks, len(cached.body))
            except RangeNotSatisfiable as refusal:
                return RouteAnswer.of(shared.problem(refusal), result.cache)
            if part is not None:
                begin, end = part
                lines = http1.range_line(begin, end, len(cached.body)) + lines
                status, body, length = 206, cached.body[begin:end], end - begin
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
