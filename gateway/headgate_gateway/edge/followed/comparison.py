"""The comparison of a followed stream with what its origin has now, decided by one read.

An origin may come back with an older copy of a stream, or a server may answer that never had the
stream's end. Offsets do not show it: the stream may have grown past the old tail meanwhile. So the
data are compared.
"""

from __future__ import annotations

from itertools import count
from typing import Final, NamedTuple

import msgspec
import xxhash

from headgate_gateway.errors import HeadgateError
from headgate_gateway.protocol.bodies.content import is_json, json_messages
from headgate_gateway.rules.followed import (
    Span,
    after_beginning,
    is_array_prefix,
    is_whole,
    text_of,
)

Units = list[bytes] | memoryview  # messages of a JSON stream, or bytes of any other

# Limits for JSON that is parsed only to count its messages: its bytes, and its commas, which are
# about as many as its messages, or more. So many of the shortest messages take 3 ms.
LONGEST_COUNTED = 256 << 10
MOST_COUNTED = 16 << 10

COMPARED_BYTES = 64 << 10  # bytes; no origin is known whose chunks are shorter
_UNKNOWN_SERVER = "?"  # not the name of a server
_numbers = count()


def is_cheap(content_type: str, body: bytes) -> bool:
    """Return whether the units of a body are counted so fast that no other task has to wait."""
    if not is_json(content_type):
        return True
    return len(body) <= LONGEST_COUNTED and body.count(b",") <= MOST_COUNTED


def is_counted(content_type: str, body: bytes) -> bool:
    """Return whether the units of a body are valid and are counted at little cost."""
    return is_cheap(content_type, body) and is_whole(content_type, body)


def units_of(content_type: str, body: bytes) -> Units:
    """Return the units of a body: its messages, or a view of its bytes."""
    return _messages(body) if is_json(content_type) else memoryview(body)


def rest_of(content_type: str, body: bytes, skipped: int) -> bytes:
    """Return a body without its first `skipped` units."""
    if not is_json(content_type):
        return body[skipped:]
    return b"[" + b",".join(_messages(body)[skipped:]) + b"]"


def _messages(body: bytes) -> list[bytes]:
    try:
        return json_messages(body)
    except HeadgateError:  # not valid JSON: it counts as one message
        return [body]


def unknown_server() -> str:
    """Return a unique name for an unknown server."""
    return f"{_UNKNOWN_SERVER}{next(_numbers)}"


class Evidence(msgspec.Struct, eq=False, gc=False):
    """The size and checksum of a piece of a stream that readers have.

    `server` is the incarnation of the origin server that sent the piece, or "", `read_at` when it
    was noted (epoch seconds).
    """

    start: str
    end: str
    size: int
    checksum: bytes
    content_type: str = ""
    server: str = ""
    read_at: float = 0.0

    def is_same(self, other: Evidence) -> bool:
        """Return whether two pieces up to one offset are known to be the same."""
        return (self.start, self.size, self.checksum) == (other.start, other.size, other.checksum)


Known = Span | Evidence


# The outcomes of a comparison, as the metric's labels.
SAME: Final = "same"
UNFINISHED: Final = "unfinished"  # the same so far, and the origin has more to be read
SHORTER: Final = "shorter"  # the same as far as it goes: a replica may lag
ANOTHER: Final = "another"
# The verdict on data that are still to be compared.
UNKNOWN: Final = "unknown"


class Comparison(NamedTuple):
    """The result of a comparison: `rest` is what follows the known data if they are the same.

    `common` counts the units that both have from the beginning of the known data on.
    """

    verdict: str
    common: int = 0
    rest: bytes = b""


def evidence_of(content_type: str, span: Span, server: str = "") -> Evidence | None:
    """Return size and checksum of a piece for a later comparison; None for a piece without data."""
    text = text_of(content_type, span.body)
    if not text:
        return None
    checksum = xxhash.xxh3_128_digest(text)
    return Evidence(span.start, span.end, len(text), checksum, content_type, server)


def compare(content_type: str, known: Known, read: Span, *, is_tail: bool) -> Comparison:
    """Compare known data with a read that begins at the same offset.

    `is_tail` is True if the origin says that the stream ends where the read ends.
    """
    found = (
        _by_checksum(content_type, known, read.body)
        if isinstance(known, Evidence)
        else _by_data(content_type, known.body, read.body)
    )
    verdict, common, rest = found
    if verdict == SHORTER:
        if read.end >= known.end:
            return Comparison(ANOTHER, common)  # with fewer data it reaches as far
        return found if is_tail else Comparison(UNFINISHED, common)
    has_more = bool(text_of(content_type, rest))
    is_odd = read.end < known.end or (has_more and read.end == known.end)
    return Comparison(ANOTHER, common) if verdict == SAME and is_odd else found


def _by_checksum(content_type: str, known: Evidence, body: bytes) -> Comparison:
    text = text_of(content_type, body)
    if len(text) < known.size:
        return Comparison(SHORTER)
    rest = after_beginning(content_type, text, known.size)
    if rest is None or xxhash.xxh3_128_digest(text[: known.size]) != known.checksum:
        return Comparison(ANOTHER)
    return Comparison(SAME, 0, rest)


def _by_data(content_type: str, known: bytes, body: bytes) -> Comparison:
    if not (is_counted(content_type, known) and is_counted(content_type, body)):
        return _by_text(content_type, known, body)
    known_units, read_units = units_of(content_type, known), units_of(content_type, body)
    common = _common(known_units, read_units)
    if common == len(known_units):
        return Comparison(SAME, common, rest_of(content_type, body, common))
    return Comparison(SHORTER if common == len(read_units) else ANOTHER, common)


def _by_text(content_type: str, known: bytes, body: bytes) -> Comparison:
    """Compare JSON as text: it is too long to parse, and an origin always formats it the same."""
    if is_array_prefix(known, body):
        size = len(text_of(content_type, known))
        rest = after_beginning(content_type, text_of(content_type, body), size)
        if rest is not None:
            return Comparison(SAME, 0, rest)
    return Comparison(SHORTER if is_array_prefix(body, known) else ANOTHER)


def _common(one: Units, other: Units) -> int:
    """Return how many units at the beginning two bodies have in common."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
