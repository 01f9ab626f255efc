"""Offsets and cursors, the two tokens by which readers go on.

Offsets are opaque, sortable positions, written `generation_position` (PROTOCOL.md section 8).
Cursors are interval tokens that vary the cache key of live reads (section 10.1).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

import xxhash

from headgate_gateway.errors import BadRequest

BEGINNING = "-1"
NOW = "now"
MAX_POSITION = 10**16 - 1
_OFFSET = re.compile(r"([0-9]{16})_([0-9]{16})")
# Offsets of any origin that can be used in an event, in a tag and in a header.
_PLAIN = re.compile(r'[^\x00-\x20"&,/=?\\\x7f-\U0010ffff]{1,256}')
_COUNTED = re.compile(r"([0-9]+_)([0-9]+)")

EPOCH_S = 1_728_432_000  # 2024-10-09T00:00:00Z
INTERVAL_S = 20
MAX_JITTER_INTERVALS = 3600 // INTERVAL_S
LONG_OVER = 15  # intervals, five minutes: a client that follows a stream polls more often

# The largest integer of JavaScript clients. Each response advances a cursor by an hour at most, so
# a client would reach this after 5 * 10**13 of them.
LARGEST = 2**53 - 1

_CURSOR = re.compile(r"[0-9]{1,16}")


def is_plain(offset: str) -> bool:
    """Return whether an offset of another server can be used as it is."""
    return _PLAIN.fullmatch(offset) is not None


def is_one_past(offset: str, end: str) -> bool:
    """Return whether an offset is an end plus one, which some clients compute and request.

    They do so with offsets of two numbers only, of which the second counts bytes: if it counted
    appends, one more would skip a whole append.
    """
    offset_parts, end_parts = _COUNTED.fullmatch(offset), _COUNTED.fullmatch(end)
    if (
        offset_parts is None
        or end_parts is None
        or len(offset) != len(end)
        or offset_parts[1] != end_parts[1]
    ):
        return False
    return int(offset_parts[2]) == int(end_parts[2]) + 1


class Offset(NamedTuple):
    """`position` counts the stream's own bytes; `generation` grows when a path is re-created."""

    generation: int
    position: int


@lru_cache(1024)  # the tails of a thousand busy streams, sent to many readers each: 0.3 MB
def format_offset(generation: int, position: int) -> str:
    """Format an offset; texts sort as positions do."""
    return f"{generation:016d}_{position:016d}"


def parse_offset(text: str, parameter: str) -> Offset:
    """Parse an offset of Headgate's own, not a sentinel; `parameter` names it in errors."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise BadRequest(
            f"{parameter} is malformed: give back a Stream-Next-Offset value unchanged"
        )
    return Offset(int(match[1]), int(match[2]))


class TailBound(NamedTuple):
    """A lower bound of a stream: it reaches `tail` at least, and ends there if it is `closed`."""

    tail: str = ""
    closed: bool = False

    def together(self, other: TailBound) -> TailBound:
        """Return the greater of two bounds."""
        return TailBound(max(self.tail, other.tail), self.closed or other.closed)

    def is_reached_by(self, tail: str, *, closed: bool) -> bool:
        """Return whether a response with this tail and closure is not behind the bound."""
        return self.tail <= tail and (closed or not self.closed)


def parse_cursor(text: str) -> int | None:
    """Parse the interval number that a client echoes; None for a cursor of another server.

    Such a cursor is not refused: it may be from before a gateway was put in front, and
    official clients stop for good at a 400. Its reader is treated like one without a cursor.
    """
    if _CURSOR.fullmatch(text) is None:
        return None
    echoed = int(text)
    return echoed if echoed <= LARGEST - MAX_JITTER_INTERVALS else None


def current_cursor(now: float) -> int:
    """Return the number of the interval that `now` is in."""
    return int(now - EPOCH_S) // INTERVAL_S


def long_over_at(echoed: int | None) -> float:
    """Return the time (epoch seconds) after which this cursor is older than a connected client's.

    Its client was disconnected for long, or got an old response from a cache.
    """
    return math.inf if echoed is None else EPOCH_S + (echoed + LONG_OVER + 1.0) * INTERVAL_S


def same_cursor_until(echoed: int, now: float) -> float:
    """Return the time (epoch seconds) until which `next_cursor` treats a cursor in the same way.

    That is infinity once its interval has passed, else the end of the interval.
    """
    return math.inf if echoed < current_cursor(now) else EPOCH_S + (echoed + 1.0) * INTERVAL_S


def cursor_floor(now: float, echoed: int | None, seed: str) -> int:
    """Return the least cursor in the events of an SSE reader; 0 if any cursor will do.

    One floor, not a new step for each event: steps depend on the position and could go back.
    """
    if echoed is None or echoed < current_cursor(now):
        return 0
    return next_cursor(now, echoed, seed)


def next_cursor(now: float, echoed: int | None, seed: str) -> int:
    """Return the cursor of a response at `now` (epoch seconds): never before the echoed one.

    An echoed cursor that the clock has not passed is advanced by 1 to 3,600 s. The step is a hash
    of the cursor and of `seed` (stream and position), not random: readers answered one by one must
    still meet at the same next URL, or collapsing never forms again.
    """
    current = current_cursor(now)
    if echoed is None or echoed < current:
        return current
    digest = xxhash.xxh3_64_intdigest(f"{seed}:{echoed}".encode())
    return echoed + 1 + digest % MAX_JITTER_INTERVALS
