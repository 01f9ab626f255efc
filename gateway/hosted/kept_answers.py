"""Cached responses of an own log, served without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.hosted.rendered import RenderedChunk
from gateway.protocol import cache_headers, http1
from gateway.protocol.http import cache_status

if TYPE_CHECKING:
    from gateway.runtime.context import Context
    from gateway.runtime.request_fields import Own
    from gateway.runtime.route import KeptAnswer, PlainGet


def kept_answer(shared: Context, get: PlainGet, own: Own, now: float) -> KeptAnswer | None:
    """Return the answer, when it is in the cache and need not be confirmed."""
    entry = shared.store.get(get.target, now)
    if not isinstance(entry, RenderedChunk) or entry.confirm_after <= now:
        return None
    is_unchanged = own.tag is not None and cache_headers.matches(own.tag, entry.etag)
    if is_unchanged and entry.facts.is_end:
        return None  # a 304 does not count as the end of a stream
    entry.hits += 1
    common = shared.lines.shared_at(now)
    of_one = own.id_line + get.connection
    lines = common, of_one, cache_status.hit(entry.hits), entry.lines
    if is_unchanged:
        return 304, b"".join((http1.UNCHANGED, *lines, b"\r\n")), b"", entry.hit_counter
    body = entry.body
    framing = b"Content-Length: %d\r\n\r\n" % len(body)
    return 200, b"".join((http1.OK, *lines, framing)), body, entry.hit_counter
