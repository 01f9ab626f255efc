"""Answers: the outcome of each operation as status, header fields and body."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway import errors
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.bodies.content import is_text, read_body, runs_scripts
from headgate_gateway.protocol.http import header_names
from headgate_gateway.protocol.http.header_names import (
    CURSOR,
    MULTI,
    NEXT_OFFSET,
    READER_KEY,
    START_OFFSET,
)
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import next_cursor

if TYPE_CHECKING:
    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.lifecycle import CreationOutcome
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import StreamState

METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
READING_METHODS = "GET, HEAD, OPTIONS"
SECURITY = "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: cross-origin\r\n"
# A page that was written into a stream must not act for its viewers.
SANDBOX = "Content-Security-Policy: sandbox\r\n"
REQUEST_HEADERS = (
    "Content-Type, Authorization, Cache-Control, Idempotency-Key, If-None-Match, Last-Event-ID,"
    " Producer-Epoch, Producer-Id, Producer-Seq, Stream-Closed, Stream-Expires-At,"
    " Stream-Fork-Offset, Stream-Fork-Sub-Offset, Stream-Forked-From, Stream-Seq, Stream-TTL,"
    " Traceparent, Tracestate, X-Request-Id, X-Stream-Multi"
)
HEADGATE_FIELDS = "headgate-"  # how the names of Headgate's own fields begin, in lower case
RESPONSE_HEADERS = (
    "Age, Cache-Status, ETag, Headgate-Start-Offset, Location, Producer-Epoch,"
    " Producer-Expected-Seq, Producer-Received-Seq, Producer-Seq, Retry-After, Stream-Closed,"
    " Stream-Cursor, Stream-Expires-At, Stream-Next-Offset, Stream-Reader-Key,"
    " Stream-SSE-Data-Encoding, Stream-TTL, Stream-URL, Stream-Up-To-Date, Upstream-Content-Type,"
    " Upstream-Outcome, Upstream-Status, X-Cache, X-Cache-Hits, X-Request-Id, X-Stream-Multi"
)
PREFLIGHT_MAX_AGE_S = 86_400
CLOSED_LINE = f"{header_names.CLOSED}: true\r\n"
# This server takes multi-appends: in responses to writes, and to HEAD and PUT.
MULTI_LINE = f"{MULTI}: true\r\n"
UP_TO_DATE_LINE = f"{header_names.UP_TO_DATE}: true\r\n"

# Whole seconds, as Retry-After has them; used in turn, so that a herd does not come back as one.
RETRY_AFTER_S = (1, 2, 3)
_PASSING = (
    *(errors.KeysUnavailable, errors.LimitReached, errors.LogUnavailable, errors.ServerStopping),
    *(errors.OriginBehind, errors.OriginBroken, errors.OriginTimeout, errors.OriginUnreachable),
)
FULL_AGAIN_S = 60  # retention or an operator has to make room before another try is worth it


class Facts(msgspec.Struct, frozen=True, gc=False):
    """The facts in a response, as values: to count it, add to it, or replace it.

    `next_offset` is "" if it says nothing of a stream. It `is_end` if it only says that its stream
    is closed; None if an empty body would make it that, and the body still comes. `again_s` is its
    Retry-After. Events from the beginning name the offset there, the `start`.
    """

    next_offset: str = ""
    closed: bool = False
    is_end: bool | None = False
    again_s: int | None = None
    has_cors: bool = False  # lines of its own on the pages that may read it: then none are added
    start: str = ""


NO_FACTS = Facts()


class Response(msgspec.Struct, frozen=True):
    """`fields` are complete header lines, each ended by CR LF, without any about the framing.

    The `tag` of data is the ETag in these.
    """

    status: int
    fields: str
    body: bytes = b""
    tag: str = ""
    facts: Facts = NO_FACTS


class ResponseEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a response to a read; it is `closed` if no record can ever follow.

    `cursor_seed` names its stream and beginning. A response that `is_empty` has no data.
    """

    offset: str
    at_tail: bool
    closed: bool
    cursor_seed: str
    is_empty: bool = True


def read_response(  # noqa: PLR0913 - what a response has
    read: Read,
    now: float,
    end: ResponseEnd,
    caching: str,
    *,
    lines: str = "",
    body: bytes | None = None,
    tag: str = "",
    cors: str = "",
) -> Response:
    """Return the response to a read that has this end: a 200 with a body, or a 204 without.

    Reads of own logs, of followed streams and of views are all answered with it. `caching` are its
    lines for caches, `lines` those of its type, `cors` those on the pages that may read it. The
    `tag` is that of the data: what the response says of the stream's end is added.
    """
    if tag:
        tag = f'"{tag}{cache_headers.tag_mark(closed=end.closed, at_tail=end.at_tail)}"'
        lines += f"ETag: {tag}\r\n"
    if read.reader_key:
        lines += key_line(read.reader_key)
    lines += f"{NEXT_OFFSET}: {end.offset}\r\n{UP_TO_DATE_LINE if end.at_tail else ''}"
    if end.closed:
        lines += CLOSED_LINE
    else:
        lines += f"{CURSOR}: {next_cursor(now, read.cursor, end.cursor_seed)}\r\n"
    fields = f"{SECURITY}{cors}{caching}{lines}"
    facts = Facts(end.offset, end.closed, end.closed and end.is_empty, has_cors=bool(cors))
    return Response(204 if body is None else 200, fields, body or b"", tag, facts)


def key_line(reader_key: str) -> str:
    """Return the line with the reader key, under which shared caches may store private reads."""
    return f"{READER_KEY}: {reader_key}\r\n"


# Its type, its next offset, and perhaps that it is closed.
_OF_STREAM = (
    f"{SECURITY}{cache_headers.NO_STORE}Content-Type: %s\r\n{MULTI_LINE}{NEXT_OFFSET}: %s\r\n%s"
)


def created(outcome: CreationOutcome, location: str) -> Response:
    """Return a 201 with Location, or a 200 where the same stream stood already (section 5.1)."""
    state = outcome.state
    tail = state.offset(state.tail)
    fields = _OF_STREAM % (state.content_type, tail, CLOSED_LINE if state.closed else "")
    if outcome.new:
        fields += f"Location: {location}\r\n"
    return Response(201 if outcome.new else 200, fields, facts=Facts(tail, state.closed))


def metadata(state: StreamState) -> Response:
    """Return the response to HEAD (section 5.5)."""
    lifetime, tail = state.lifetime, state.offset(state.tail)
    fields = _OF_STREAM % (state.content_type, tail, CLOSED_LINE if state.closed else "")
    if lifetime.expires_text is not None:
        fields += f"Stream-Expires-At: {lifetime.expires_text}\r\n"
    elif lifetime.ttl_s is not None:
        fields += f"Stream-TTL: {lifetime.ttl_s}\r\n"
    return Response(200, fields, facts=Facts(tail, state.closed))


# The lines of an accepted append, up to its offset: most have nothing else.
_APPENDED = f"{SECURITY}{cache_headers.NO_STORE}{MULTI_LINE}{NEXT_OFFSET}: "
APPENDED = _APPENDED.encode()


def appended(outcome: AppendOutcome) -> Response:
    """Return a 204, or a 200 for a producer's append that is new (sections 5.2, 5.2.1)."""
    fields = f"{_APPENDED}{outcome.next_offset}\r\n{CLOSED_LINE if outcome.closed else ''}"
    facts = Facts(outcome.next_offset, outcome.closed)
    if outcome.producer is None:
        return Response(204, fields, facts=facts)
    echo = f"Producer-Epoch: {outcome.producer.epoch}\r\nProducer-Seq: {outcome.producer.seq}\r\n"
    return Response(200 if outcome.stored else 204, fields + echo, facts=facts)


def deleted() -> Response:
    """Return the 204 to a deletion (section 5.4)."""
    return Response(204, f"{SECURITY}{cache_headers.NO_STORE}")


def data(chunk: Chunk, read: Read, freshness: Freshness, now: float) -> Response:
    """Return a 200 with the bytes of a catch-up or a long-poll (sections 5.6, 5.7)."""
    state, end = chunk.state, end_of(chunk)
    caching = cache_headers.lifetime_of(chunk, read, freshness.toward(read.by_key, read.path), now)
    lines, body = _type_line(state.content_type), read_body(state.content_type, chunk.records)
    start = state.offset(chunk.start)
    if read.offset is None:
        lines += _start_line(start)
    tag = f"{state.stream_id:x}:{start}:{end.offset}"
    return read_response(read, now, end, caching, lines=lines, body=body, tag=tag)


def tail(state: StreamState, read: Read, now: float) -> Response:
    """Return a 200 without data, never stored: the answer to `offset=now` (section 8)."""
    lines, body = _type_line(state.content_type), read_body(state.content_type, ())
    end = end_of(chunks.empty(state))
    return read_response(read, now, end, cache_headers.NO_STORE, lines=lines, body=body)


@lru_cache(128)  # streams have a few types
def _type_line(content_type: str) -> str:
    sandbox = SANDBOX if runs_scripts(content_type) else ""
    return f"{sandbox}Content-Type: {content_type}\r\n"


def poll_ended(state: StreamState, read: Read, freshness: Freshness, now: float) -> Response:
    """Return a 204: the long-poll's time is over, or the stream is closed (section 5.7)."""
    freshness = freshness.toward(read.by_key, read.path)
    caching = cache_headers.poll_timeout(freshness, closed=state.closed)
    end = end_of(chunks.empty(state))
    lines = _start_line(end.offset) if read.offset is None else ""
    return read_response(read, now, end, caching, lines=lines)


def _start_line(offset: str) -> str:
    """Return the line with the offset at which a read from the beginning begins."""
    return f"{START_OFFSET}: {offset}\r\n"


def events_type(content_type: str) -> str:
    """Return the lines with the type of SSE, and the coding of this type's data in it."""
    base64 = "" if is_text(content_type) else "Stream-SSE-Data-Encoding: base64\r\n"
    return f"Content-Type: text/event-stream\r\n{base64}"


def event_stream(content_type: str, cors: str = "", *, private: bool = False) -> Response:
    """Return the head of an SSE response."""
    return live_response(events_type(content_type), cors, private=private)


def naming_start(head: Response, start: str) -> Response:
    """Return the head of an SSE response from the beginning, which names the offset there."""
    facts = msgspec.structs.replace(head.facts, start=start)
    return msgspec.structs.replace(head, fields=f"{head.fields}{_start_line(start)}", facts=facts)


def live_response(lines: str, cors: str = "", *, private: bool = False) -> Response:
    """Return the head of a response that goes on, of this type; it tells proxies not to buffer."""
    caching = cache_headers.PRIVATE_EVENT_STREAM if private else cache_headers.EVENT_STREAM
    fields = f"{SECURITY}{cors}{caching}{lines}X-Accel-Buffering: no\r\n"
    return Response(200, fields, facts=Facts(has_cors=bool(cors)))


def event_stream_later(status: int, wait_ms: int) -> Response:
    """Return an SSE answer without events: its reader is to connect again in `wait_ms`.

    A comment says which status another client is given.
    """
    return Response(
        200,
        f"{SECURITY}{cache_headers.NO_STORE}Content-Type: text/event-stream\r\n",
        b": %d\nretry: %d\n\n" % (status, wait_ms),
    )


def end_of(chunk: Chunk) -> ResponseEnd:
    """Return the end of a response that has a chunk."""
    state = chunk.state
    seed = f"{state.stream_id}:{chunk.start}"
    at_tail = chunk.at_tail
    closed, is_empty = state.closed and at_tail, chunk.end == chunk.start
    return ResponseEnd(state.offset(chunk.end), at_tail, closed, seed, is_empty)


def problem(error: errors.HeadgateError, again_s: int) -> Response:
    """Return an error as `application/problem+json` (RFC 9457), with the protocol's headers.

    `again_s` is the Retry-After of an error that passes.
    """
    fields = f"{SECURITY}{cache_headers.NO_STORE}Content-Type: application/problem+json\r\n"
    facts, explained = NO_FACTS, explanation(error)
    if isinstance(error, errors.StreamClosed):
        facts = Facts(error.next_offset, closed=True)
    elif not explained and (wait_s := _again(error, again_s)) is not None:
        facts, explained = Facts(again_s=wait_s), again_line(wait_s)
    body = problem_document(error.status, error.code, error.detail)
    return Response(error.status, fields + explained, body, facts=facts)


def again_line(again_s: int) -> str:
    """Return the line that says in how many seconds another try is worth it."""
    return f"Retry-After: {again_s}\r\n"


def explanation(error: errors.HeadgateError) -> str:
    """Return the lines that a program needs of a refusal: what was expected, or is allowed."""
    match error:
        case errors.Unauthenticated():
            lines = f"WWW-Authenticate: {_challenge(error)}\r\n"
        case errors.StreamClosed():
            lines = f"{CLOSED_LINE}{NEXT_OFFSET}: {error.next_offset}\r\n"
        case errors.ProducerFenced():
            lines = f"Producer-Epoch: {error.epoch}\r\n"
        case errors.SequenceGap():
            expected, received = error.expected, error.received
            line = f"Producer-Expected-Seq: {expected}\r\n"
            lines = f"{line}Producer-Received-Seq: {received}\r\n"
        case errors.RangeNotSatisfiable():
            lines = f"Content-Range: bytes */{error.size}\r\n"
        case errors.CodingNotSupported():
            lines = f"Accept-Encoding: {error.taken}\r\n"
        case errors.MethodNotAllowed():
            lines = f"Allow: {error.allowed or METHODS}\r\n"
        case _:
            lines = ""
    return lines


def _again(error: errors.HeadgateError, again_s: int) -> int | None:
    """Return in how many seconds another try is worth it, for what passes."""
    if isinstance(error, errors.LogFull):
        return FULL_AGAIN_S + again_s
    if isinstance(error, errors.ClientLimitReached | errors.OriginBusy):
        return (error.again_s or 1) - 1 + again_s  # no sooner than it was said
    return again_s if isinstance(error, _PASSING) else None


def _challenge(error: errors.Unauthenticated) -> str:
    """Return the WWW-Authenticate (RFC 6750 section 3); without an error if nothing was sent."""
    if error.challenge and error.challenge.isascii():
        return error.challenge
    return 'Bearer error="invalid_token"' if error.is_refused else "Bearer"


def internal_error(request_id: str) -> Response:
    """Return a 500 for what should not happen; the id leads to the log line that says more."""
    fields = f"{SECURITY}{cache_headers.NO_STORE}Content-Type: application/problem+json\r\n"
    detail = f"see the server's log for {request_id}"
    return Response(500, fields, problem_document(500, "internal_error", detail))


def preflight(
    *, writes: bool = True, fields: str = REQUEST_HEADERS, methods: str = METHODS
) -> Response:
    """Return the 204 to a browser that asks what a page may send, which `writes` or only reads.

    `fields` are the names of the header fields that it may send, and `methods` those of writes.
    """
    return Response(
        204,
        f"{SECURITY}Access-Control-Allow-Methods: {methods if writes else READING_METHODS}\r\n"
        f"Access-Control-Allow-Headers: {fields}\r\n"
        f"Access-Control-Max-Age: {PREFLIGHT_MAX_AGE_S}\r\nAllow: {methods}\r\n",
    )


def problem_document(status: int, code: str, detail: str) -> bytes:
    """Return the body of an error (RFC 9457), which has the same form at every listener."""
    document = {
        "type": "about:blank",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
        # It may quote what a client sent, which need not be text.
        "detail": detail.encode(errors="replace").decode(),
    }
    return msgspec.json.encode(document)
