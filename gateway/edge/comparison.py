"""Whether an origin still has what readers were sent of a stream: decided by one read of it.

An origin may come back with an older copy of a stream, or another server may answer that never had
its end. Offsets do not tell: the stream may have grown past the old tail meanwhile. Bytes do.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from gateway.edge.body_units import Units, is_counted, rest_of, units_of
from gateway.protocol.followed import Span, after_beginning, begins_alike, joined, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPARED_BYTES = 64 << 10  # no origin is known whose chunks are shorter


class Evidence(NamedTuple):
    """What is known of a piece of a stream whose bytes are not in memory: `size` of them.

    `server` is the base URL of the one that told of it, or "".
    """

    start: str
    end: str
    size: int
    checksum: bytes
    server: str = ""


Known = Span | Evidence


class Verdict(Enum):
    """What a read shows of the stream that was followed."""

    SAME = "same"
    UNFINISHED = "unfinished"  # the same so far, and the answer goes on
    SHORTER = "shorter"  # the same as far as it goes: a replica may lag
    ANOTHER = "another"


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
SAME, UNFINISHED, SHORTER, ANOTHER = Verdict


class Finding(NamedTuple):
    """What a comparison has found: `rest` follows what is known, where that is the same.

    `common` is how many units from the beginning of what is known are the same.
    """

    verdict: Verdict
    common: int = 0
    rest: bytes = b""


def evidence_of(content_type: str, span: Span, server: str = "") -> Evidence | None:
    """Return what tells a piece of a stream from another later, or None if it cannot be told."""
    text = text_of(content_type, span.body)
    if not text:
        return None
    return Evidence(span.start, span.end, len(text), _checksum(text), server)


def compare(content_type: str, known: Known, read: Span, *, is_tail: bool) -> Finding:
    """Compare what is known with what was read from the same offset.

    `is_tail` says that the stream ends there, as far as the origin says.
    """
    found = (
        _by_checksum(content_type, known, read.body)
        if isinstance(known, Evidence)
        else _by_data(content_type, known.body, read.body)
    )
    verdict, common, rest = found
    if verdict is SHORTER:
        if read.end >= known.end:
            return Finding(ANOTHER, common)  # fewer data reach as far
        return found if is_tail else Finding(UNFINISHED, common)
    has_more = bool(text_of(content_type, rest))
    is_odd = read.end < known.end or (has_more and read.end == known.end)
    return Finding(ANOTHER, common) if verdict is SAME and is_odd else found


def _by_checksum(content_type: str, known: Evidence, body: bytes) -> Finding:
    text = text_of(content_type, body)
    if len(text) < known.size:
        return Finding(SHORTER)
    rest = after_beginning(content_type, text, known.size)
    if rest is None or _checksum(text[: known.size]) != known.checksum:
        return Finding(ANOTHER)
    return Finding(SAME, 0, rest)


def _by_data(content_type: str, known: bytes, body: bytes) -> Finding:
    if not (is_counted(content_type, known) and is_counted(content_type, body)):
        return _by_text(content_type, known, body)
    mine, theirs = units_of(content_type, known), units_of(content_type, body)
    common = _common(mine, theirs)
    if common == len(mine):
        return Finding(SAME, common, rest_of(content_type, body, common))
    return Finding(SHORTER if common == len(theirs) else ANOTHER, common)


def _by_text(content_type: str, known: bytes, body: bytes) -> Finding:
    """Compare JSON that is too long to be taken apart, which one origin spells one way."""
    if begins_alike(known, body):
        size = len(text_of(content_type, known))
        rest = after_beginning(content_type, text_of(content_type, body), size)
        if rest is not None:
            return Finding(SAME, 0, rest)
    return Finding(SHORTER if begins_alike(body, known) else ANOTHER)


def _common(one: Units, other: Units) -> int:
    """How many units two bodies begin with that are the same."""
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


def newest(content_type: str, spans: Sequence[Span]) -> Span | None:
    """Return the last of some consecutive pieces as one, COMPARED_BYTES of them or the last one."""
    size = 0
    first = len(spans)
    while first and (first == len(spans) or size + len(spans[first - 1].body) <= COMPARED_BYTES):
        first -= 1
        size += len(spans[first].body)
    return joined(content_type, spans[first:]) if spans else None


def _checksum(text: bytes) -> bytes:
    """Return what tells this text from any other."""
    return xxhash.xxh3_128_digest(text)
