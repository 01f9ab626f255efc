"""Cached responses of an origin, served without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.reads.decision import fresh
from gateway.edge.reads.variants import Variants
from gateway.edge.rules.conditional import part_asked_for
from gateway.errors import RangeNotSatisfiable
from gateway.protocol import http1
from gateway.runtime.request_fields import OWN_FIELDS

if TYPE_CHECKING:
    from gateway.runtime.context import Context
    from gateway.runtime.request_fields import Own
    from gateway.runtime.route import KeptAnswer, PlainGet

# Lines that differ from request to request: a variant that they select is not served here.
_OWN = frozenset(map(str.lower, OWN_FIELDS))


def kept_answer(shared: Context, get: PlainGet, own: Own, now: float) -> KeptAnswer | None:
    """Return the cached response to a plain GET, or None unless it is fresh."""
    entry = shared.store.get(get.key, now)
    if not isinstance(entry, Variants):
        return None
    variant = fresh(entry.variants, get.headers, now)
    if variant is None or (own.fields and not entry.varies.isdisjoint(_OWN)):
        return None
    is_unchanged = own.tag is not None and variant.has_tag(own.tag)
    if is_unchanged and variant.is_end:
        return None  # a 304 does not count as the end of a stream
    body, part = variant.cached.body, None
    if own.requested_range is not None and variant.cached.may_be_cut and not is_unchanged:
        try:
            part = part_asked_for(own.requested_range, len(body))
        except RangeNotSatisfiable:
            return None
    entry.hits += 1
    moment = shared.lines.referrer + get.connection
    recipient = entry.home.recipient_of(entry.read.path, get.reader_key)
    status, ends = variant.cached.status, None
    if is_unchanged:
        status, ends, body = 304, (http1.UNCHANGED, b"\r\n"), b""
    elif part is not None:
        begin, end = part
        first = http1.PARTIAL + http1.range_line(begin, end, len(body))
        status, ends = 206, (first, b"Content-Length: %d\r\n\r\n" % (end - begin))
        body = body[begin:end]
    shared_lines = shared.lines.parts_at(now)
    head = variant.fast_head(recipient, shared_lines, moment, now, own.id_line, ends)
    return status, head, body, variant.hit_counter
