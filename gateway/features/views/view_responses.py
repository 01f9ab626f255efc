"""Responses with views: one stream in the dialect that a client speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol import cache_headers, responses
from gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET
from gateway.protocol.streams.chunks import Chunk
from gateway.protocol.views import AI_SDK, SSE, TEXT

if TYPE_CHECKING:
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.streams.state import StreamState

# Part of ETags: raise it when the same stream makes other bytes, so that no cache mixes both.
VERSION = 2


def _type_lines(view: str, content_type: str) -> str:
    if view == TEXT:
        return "Content-Type: text/plain; charset=utf-8\r\n"
    # Dialects are text, whatever the stream holds.
    lines = responses.events_type(content_type if view == SSE else "text/plain")
    return f"{lines}x-vercel-ai-ui-message-stream: v1\r\n" if view == AI_SDK else lines


def live_view(view: str, content_type: str, *, private: bool) -> Response:
    """Return the head of a view that goes on."""
    trailer = f"Trailer: {NEXT_OFFSET}, {CLOSED}\r\n" if view == TEXT else ""
    return responses.live_response(_type_lines(view, content_type) + trailer, private=private)


def text_trailers(offset: str, *, closed: bool) -> bytes:
    """Return the trailer fields behind a text: where to read on, or that there is no more."""
    return f"{NEXT_OFFSET}: {offset}\r\n{responses.CLOSED_LINE if closed else ''}".encode()


def whole_view(
    read: Read, state: StreamState, start: int, freshness: Freshness, now: float, body: bytes
) -> Response:
    """Return the view of a closed stream from a position on: a response that ends at once.

    An EventSource that comes back for more names its place in a field, which some caches take no
    notice of, so they must ask for each response with plain events.
    """
    view, chunk = read.view.name, Chunk(state, start, state.tail, ())
    freshness = freshness.toward(read.by_key, read.path)
    caching = cache_headers.lifetime_of(chunk, read, freshness, now)
    if view == SSE and not freshness.is_private:
        caching = cache_headers.NO_CACHE
    vary = "" if view == TEXT else "Vary: Last-Event-ID\r\n"
    lines = f"{vary}{_type_lines(view, state.content_type)}"
    end = responses.end_of(chunk)
    tag = f"{state.stream_id:x}:{view}.{VERSION}:{state.offset(start)}:{end.offset}"
    return responses.read_response(read, now, end, caching, lines=lines, body=body, tag=tag)
