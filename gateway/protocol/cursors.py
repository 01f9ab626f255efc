"""Cursors: interval tokens that vary the cache key of live reads (PROTOCOL.md section 10.1)."""

from __future__ import annotations

import math
import re

import xxhash

EPOCH_S = 1_728_432_000  # 2024-10-09T00:00:00Z
INTERVAL_S = 20
MAX_JITTER_INTERVALS = 3600 // INTERVAL_S
LONG_OVER = 15  # intervals, five minutes: a client that follows a stream polls more often

# The largest integer of JavaScript clients. Each response advances a cursor by an hour at most, so
# a client would reach this after 5 * 10**13 of them.
LARGEST = 2**53 - 1

_CURSOR = re.compile(r"[0-9]{1,16}")


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

    Its client was disconnected for long, or a cache has served it an old response.
    """
    return math.inf if echoed is None else EPOCH_S + (echoed + LONG_OVER + 1.0) * INTERVAL_S


def same_until(echoed: int, now: float) -> float:
    """Return the time (epoch seconds) up to which `next_cursor` treats an echoed cursor alike.

    That is for ever once its interval has passed, else until then.
    """
    return math.inf if echoed < current_cursor(now) else EPOCH_S + (echoed + 1.0) * INTERVAL_S


def cursor_floor(now: float, echoed: int | None, place: str) -> int:
    """Return the least cursor in the events of an SSE reader; 0 if any cursor will do.

    One floor, not a new step for each event: steps depend on the position and could go back.
    """
    if echoed is None or echoed < current_cursor(now):
        return 0
    return next_cursor(now, echoed, place)


def next_cursor(now: float, echoed: int | None, place: str) -> int:
    """Return the cursor of a response at `now` (epoch seconds): never behind the echoed one.

    An echoed cursor that the clock has not passed is advanced by 1 to 3,600 s. The step is a hash
    of the cursor and of `place` (stream and position), not random: readers answered one by one must
    still meet at the same next URL, or collapsing never forms again.
    """
    current = current_cursor(now)
    if echoed is None or echoed < current:
        return current
    seed = f"{place}:{echoed}".encode()
    return echoed + 1 + xxhash.xxh3_64_intdigest(seed) % MAX_JITTER_INTERVALS
