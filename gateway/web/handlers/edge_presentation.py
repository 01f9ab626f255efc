"""Present the cache's result to a reader; the handlers for HTTP origins call this last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

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
    from gateway.web.requests.request import Request


def whole(recipient: Recipient, result: CacheResult) -> RouteAnswer:
    """Return the whole response."""
    cached, source = result.cached, result.source
    read, said, has_cors = cached.facts, cached.said, not cached.own_cors
    if read is None:
        facts = Facts(said.next_offset, said.closed, said.is_end, said.again_s, has_cors)
    else:
        is_end = read.closed and read.is_empty
        facts = Facts(read.next_offset, read.closed, is_end, has_cors=has_cors)
    return RouteAnswer(
        cached.status,
        cached.lines_for(recipient, tells_of_tail=result.tail_is_known or _tells_of_tail(result)),
        cached.body if source is None else source,
        result.cache,
        facts,
        is_relayed=True,
        has_date=not cached.own_date,
        length=len(cached.body) if source is None else cached.length,
    )


def present(
    request: Request, recipient: Recipient, result: CacheResult, shared: Context
) -> RouteAnswer:
    """Return the whole response, the byte range that the request names, or 304.

    Return 416 if the range begins after the end.
    """
    answer, cached, source = whole(recipient, result), result.cached, result.source
    if answer.status != 200 or conditional.wants_all(request.headers):
        return answer
    marks = cached.marks(tells_of_tail=result.tail_is_known or _tells_of_tail(result))
    if conditional.is_not_modified(request.headers, marks):
        facts = answer.facts if cached.facts is None else replace(answer.facts, is_end=False)
        return replace(answer, status=304, body=source or b"", length=None, facts=facts)
    if source is not None or not cached.may_be_cut or request.method != "GET":
        return answer
    try:
        part = conditional.byte_range(request.headers, marks, len(cached.body))
    except RangeNotSatisfiable as refusal:
        return RouteAnswer.of(shared.problem(refusal), result.cache)
    if part is None:
        return answer
    begin, end = part
    lines = http1.range_line(begin, end, len(cached.body)) + answer.lines
    return replace(answer, status=206, lines=lines, body=cached.body[begin:end], length=end - begin)


def _tells_of_tail(result: CacheResult) -> bool:
    """Return whether the response may say that it reached a tail which is not known."""
    is_new = result.number != BEFORE_ALL
    return result.cached.tells_of_unknown_tail(is_new=is_new)
