"""Followed streams of an origin: their known state, and the responses to readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.bodies.content import is_json, is_text, media_type, read_body
from headgate_gateway.protocol.bodies.json_text import LONGEST_RUN, without_blanks
from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.protocol.responses import Response, ResponseEnd, read_response
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules import repair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.requests import Read

FOREVER: Final = Lifetime()
# Responses that are joined to one that ends inside a character. Where all characters have three
# bytes, two cuts in three are inside one: all of these are once in 600,000 times.
MOST_JOINED = 32
LONGEST_JOINED = 64 << 20  # bytes that are joined with another response; one may have as many


class Snapshot(NamedTuple):
    """The state of a followed stream as far as it is known: its `path`, and where its news end."""

    path: str
    content_type: str
    tail: str
    closed: bool
    caught_up: bool  # nothing followed the tail when the origin sent it
    private: bool = False  # for one reader and not for shared caches, by the request or the origin
    lifetime: Lifetime = FOREVER
    # The origin's directives for reads and for polls; empty if it sends none.
    read_directives: str | None = None  # not known yet
    poll_directives: str = ""
    cors: str = ""  # the origin's CORS lines
    number: int = 0  # of its fetch: reads with higher numbers were sent after its result


def goes_past(one: Snapshot, known: Snapshot) -> bool:
    """Return whether a stream goes past the known end, or has another content type."""
    return known.tail < one.tail or not is_of_type(known.content_type, one.content_type)


class Span(NamedTuple):
    """A piece of a stream, from offset to offset, as the origin's body gave it."""

    start: str
    end: str
    body: bytes


def is_of_type(one: str, other: str) -> bool:
    """Return whether both types can be those of one stream: its type and encoding never change."""
    return one == other or (media_type(one) == media_type(other) and is_text(one) == is_text(other))


def is_whole(content_type: str, body: bytes) -> bool:
    """Return whether a body can be joined with others: a JSON stream's is an array (9.1)."""
    if not is_json(content_type) or _inside(body) is not None:
        return True
    return len(body) <= LONGEST_RUN and not body.strip()


def is_array_prefix(one: bytes, other: bytes) -> bool:
    """Return whether one JSON array begins with the other, compared byte by byte."""
    part, whole = _inside(one), _inside(other)
    if part is None or whole is None:
        return one == other
    return other.startswith(memoryview(one)[slice(*part)], *whole)


def text_of(content_type: str, body: bytes) -> bytes | memoryview:
    """Return the text of a body for comparisons: of a JSON array without its brackets.

    Nothing is copied unless there are blanks to strip: every read's text is summed up.
    """
    part = _inside(body) if is_json(content_type) else None
    if part is None:
        return body
    text = memoryview(body)[slice(*part)]
    ends = bytes(text[:1]) + bytes(text[-1:])
    return text if ends == ends.strip() else bytes(text).strip()


def after_beginning(content_type: str, text: bytes | memoryview, size: int) -> bytes | None:
    """Return the body after the first `size` bytes of `text`, or None if that cuts a message."""
    rest = bytes(text[size:])
    if not is_json(content_type):
        return rest
    rest = rest.lstrip()
    if rest and not rest.startswith(b","):
        return None
    return b"[%b]" % rest[1:]


def _inside(body: bytes) -> tuple[int, int] | None:
    """Return where the items of an array begin and end, without parsing them."""
    if body[:1] == b"[" and body[-1:] == b"]":  # no blanks around it, as nearly always
        return 1, len(body) - 1
    try:
        begin, end = without_blanks(body)
    except ValueError:
        return None
    is_array = body[begin] == ord("[") and body[end - 1] == ord("]")
    return (begin + 1, end - 1) if is_array else None


def is_cut(content_type: str, body: bytes) -> bool:
    """Return whether a body that SSE carries as text ends inside a character.

    A body too long to be joined with what follows is sent as it is.
    """
    if is_json(content_type) or not is_text(content_type) or len(body) > LONGEST_JOINED:
        return False
    for back, byte in enumerate(body[:-4:-1], start=1):
        if byte & 0xC0 != 0x80:  # where the last character begins
            return back < 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
    return False


def joined(content_type: str, spans: Sequence[Span]) -> Span:
    """Join spans that follow each other."""
    if len(spans) == 1:
        return spans[0]
    bodies = [span.body for span in spans]
    if is_json(content_type):
        items = [body.strip()[1:-1] for body in bodies]
        body = b"[" + b",".join(item for item in items if item.strip()) + b"]"
    else:
        body = b"".join(bodies)
    return Span(spans[0].start, spans[-1].end, body)


def data(snapshot: Snapshot, read: Read, span: Span, now: float, freshness: Freshness) -> Response:
    """Return a 200 with what came after the offset of a catch-up or long-poll (5.6, 5.7)."""
    content_type = snapshot.content_type
    is_empty = repair.is_nothing(content_type, span.body)
    end = _end(snapshot, span.start, span.end, is_empty=is_empty)
    lifetime = _lifetime(snapshot, read, now, freshness, ends=end.closed)
    caching = cache_headers.tagged(lifetime, snapshot.path, freshness)
    lines = f"Content-Type: {content_type}\r\n"
    body = span.body or read_body(content_type, ())
    tag = repair.data_tag(snapshot.path, *span)
    return read_response(
        read, now, end, caching, lines=lines, body=body, tag=tag, cors=snapshot.cors
    )


def poll_ended(
    snapshot: Snapshot, read: Read, offset: str, now: float, freshness: Freshness
) -> Response:
    """Return a 204: the time is over, or the stream is closed."""
    end = _end(snapshot, offset, offset)
    caching = cache_headers.NO_STORE
    if not snapshot.private:
        caching = cache_headers.poll_timeout(freshness, closed=end.closed)
    return read_response(read, now, end, caching, cors=snapshot.cors)


def _end(snapshot: Snapshot, start: str, offset: str, *, is_empty: bool = True) -> ResponseEnd:
    at_tail = is_end(snapshot, offset)
    closed = snapshot.closed and offset == snapshot.tail
    return ResponseEnd(offset, at_tail, closed, f"{snapshot.path}:{start}", is_empty)


def is_end(snapshot: Snapshot, offset: str) -> bool:
    """Return whether nothing is known to follow an offset, as a 204 must say (section 5.7)."""
    return offset == snapshot.tail and snapshot.caught_up


def moves_on(read: LongPoll, now: float) -> bool:
    """Return whether a poll's URL is requested once only, if offsets are the origin's."""
    return cache_headers.moves_on(read.cursor, now, is_fixed=read.offset not in {None, NOW})


def _lifetime(
    snapshot: Snapshot, read: Read, now: float, freshness: Freshness, *, ends: bool
) -> str:
    directives = snapshot.read_directives or ""
    if isinstance(read, LongPoll):
        directives = snapshot.poll_directives or directives
    if isinstance(read, LongPoll) and read.offset == NOW:  # regardless of the origin's directives
        is_private = snapshot.private or freshness.is_private
        news = cache_headers.PRIVATE_NO_STORE if is_private else cache_headers.NEWS_FROM_NOW
        return news + repair.varying(directives)
    if directives:
        return directives
    if snapshot.private:
        return cache_headers.PRIVATE
    return cache_headers.read_lifetime(
        read,
        freshness,
        snapshot.lifetime.remaining(now),
        now,
        is_fixed=read.offset not in {None, NOW},
        is_whole=False,  # the follower's news begin and end anywhere
        ends=ends,
    )
