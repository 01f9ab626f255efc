"""Responses with views: one stream in the dialect that a client speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol import cache_headers, responses
from gateway.protocol.bodies.content import is_text
from gateway.protocol.http import header_names
from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.protocol.streams.chunks import Chunk
from gateway.protocol.views import AI_SDK, SSE, TEXT

if TYPE_CHECKING:
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.streams.state import StreamState

# Part of ETags: raise it when the same stream makes other bytes, so that no cache mixes both.
VERSION = 2
_TEXT_TYPE = "Content-Type: text/plain; charset=utf-8\r\n"
_EVENTS_TYPE = "Content-Type: text/event-stream\r\n"
_UI_MESSAGES = "x-vercel-ai-ui-message-stream: v1\r\n"
_TRAILER = f"Trailer: {NEXT_OFFSET}, {header_names.CLOSED}\r\n"


def _type_lines(view: str, content_type: str) -> str:
    if view == TEXT:
        return _TEXT_TYPE
    if view == SSE and not is_text(content_type):
        return f"{_EVENTS_TYPE}Stream-SSE-Data-Encoding: base64\r\n"
    return f"{_EVENTS_TYPE}{_UI_MESSAGES if view == AI_SDK else ''}"


def live_view(view: str, content_type: str, *, private: bool) -> Response:
    """Return the head of a view that goes on; it tells proxies not to buffer."""
    caching = cache_headers.PRIVATE_EVENT_STREAM if private else cache_headers.EVENT_STREAM
    trailer = _TRAILER if view == TEXT else ""
    return responses.Response(
        200,
        f"{responses.SECURITY}{caching}{_type_lines(view, content_type)}"
        f"X-Accel-Buffering: no\r\n{trailer}",
    )


def text_trailers(offset: str, *, closed: bool) -> bytes:
    """Return the trailer fields behind a text: where to read on, or that there is no more."""
    closed_line = f"{header_names.CLOSED}: true\r\n" if closed else ""
    return f"{NEXT_OFFSET}: {offset}\r\n{closed_line}".encode()


def view_tag(view: str, state: StreamState, start: int) -> str:
    """Return the ETag of a view of a closed stream from a position on."""
    ends = f"{state.offset(start)}:{state.offset(state.tail)}"
    return f'"{state.stream_id:x}:{view}.{VERSION}:{ends}:closed"'


def whole_view(
    read: Read, state: StreamState, start: int, freshness: Freshness, now: float, body: bytes
) -> Response:
    """Return the view of a closed stream from a position on: a response that ends at once.

    An EventSource that comes back for more names its place in a field, which some caches take no
    notice of, so they must ask for each response with plain events.
    """
    view = read.view.name
    chunk = Chunk(state, start, state.tail, ())
    freshness = freshness.toward(read.by_key, read.path)
    lifetime = cache_headers.lifetime_of(chunk, read, freshness, now)
    if view == SSE and not freshness.is_private:
        lifetime = cache_headers.NO_CACHE
    caching = cache_headers.tagged(lifetime, read.path, freshness)
    vary = "" if view == TEXT else "Vary: Last-Event-ID\r\n"
    lines = (
        f"{caching}{vary}{_type_lines(view, state.content_type)}"
        f"ETag: {view_tag(view, state, start)}\r\n"
    )
    return responses.answered(read, now, responses.end_of(chunk), lines, body)
