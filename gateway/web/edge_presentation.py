"""An answer of the origin, kept or just come, as its reader is given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache import conditional
from gateway.cache.cached_response import fields_of, no_store
from gateway.cache.directives import age_of
from gateway.cache.private_fields import make_private
from gateway.protocol import cache_status, forwarding, http1, repair
from gateway.protocol.header_names import READER_KEY
from gateway.runtime.answer import Answered, Relayed
from gateway.web.request_head import base_url

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest
    from multidict import CIMultiDict

    from gateway.cache.cached_response import CachedResponse
    from gateway.cache.http_cache import CacheResult
    from gateway.cache.private_fields import Recipient
    from gateway.edge.route import EdgeRoute
    from gateway.origin.client import OriginAnswer


def present(request: BaseRequest, recipient: Recipient, result: CacheResult) -> Answered:
    """An answer as this request wants it: whole, a part of it, or only that it has not changed."""
    cached, source = result.cached, result.source
    status, head = cached.status, cached.told(recipient, known=result.tail_is_known)
    body = cached.body if source is None else source
    length = len(cached.body) if source is None else cached.length
    if status == 200 and not conditional.wants_all(request.headers):
        fields = fields_of(head)
        if conditional.not_modified(request.headers, 200, fields):
            status, body, length = 304, source or b"", None
            head = http1.status_line(304) + head.partition(b"\r\n")[2]
        elif source is None and request.method == "GET":
            status, head, body = _part(request, cached, head) or (200, head, cached.body)
            length = len(body)
    relayed = Relayed(status, head, body, length, cached.own_date, cached.own_cors)
    return Answered(relayed, result.cache)


def _part(
    request: BaseRequest, cached: CachedResponse, head: bytes
) -> tuple[int, bytes, bytes] | None:
    """Status, head and body of the range that was asked for, if one was."""
    size, fields = len(cached.body), fields_of(head)
    wanted = conditional.byte_range(request.headers, fields, size)
    if wanted is None:
        return None
    _, _, lines = head.partition(b"\r\n")
    if isinstance(wanted, conditional.Unsatisfiable):
        date = f"Date: {fields['Date']}\r\n".encode() if not cached.own_date else b""
        line = b"Cache-Control: no-store\r\nContent-Range: bytes */%d\r\n" % size
        return 416, http1.status_line(416) + date + line, b""
    begin, end = wanted
    line = b"Content-Range: bytes %d-%d/%d\r\n" % (begin, end - 1, size)
    return 206, http1.status_line(206) + lines + line, cached.body[begin:end]


def passed_back(
    request: BaseRequest,
    route: EdgeRoute,
    key_of: str | None,
    answer: OriginAnswer,
    lacked: dict[str, str],
) -> CIMultiDict[str]:
    """The fields of an answer as the client is told them, with what it `lacked`.

    With the reader key of a path, where the client may be told it.
    """
    fields = forwarding.response_fields(answer.headers, route.via)
    fields.update(lacked)
    if answer.status >= 400:
        no_store(fields)
    elif request.method != "GET":
        repair.of_no_read(fields)
    forwarding.relocate(fields, route.origin.location, base_url(request))
    if route.access.is_private:
        make_private(fields)
    keys = route.access.reader_keys
    if keys is not None and key_of is not None and answer.status < 400:
        fields[READER_KEY] = keys.of(key_of)
    return fields


def relayed(request: BaseRequest, answer: OriginAnswer, fields: CIMultiDict[str]) -> Answered:
    """What the origin says, its body as it comes."""
    age = int(age_of(fields))
    for name in cache_status.OF_THE_ANSWER:
        fields.popall(name, None)
    head = http1.status_line(answer.status) + http1.field_lines(fields.items())
    why = "bypass" if request.method == "GET" else "method"
    cache = cache_status.lines("BYPASS", f"fwd={why}; fwd-status={answer.status}", age=age)
    relayed = Relayed(
        answer.status,
        head,
        answer,
        http1.content_length(answer.headers.get("Content-Length")),
        "Date" not in fields,
        "Access-Control-Allow-Origin" not in fields,
    )
    return Answered(relayed, cache)
