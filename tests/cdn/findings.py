"""What a case has found of a CDN: figures for the table, and faults, each with its name."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(StrEnum):
    """What a configuration gets wrong, or does not do."""

    NO_COLLAPSE = "equal polls all reach the origin"
    SERIALISED = "equal reads wait for each other"
    LATE = "new data comes late"
    LOST = "readers miss data, or get some of it twice"
    NO_HITS = "equal reads all reach the origin"
    ORDER_MATTERS = "query parameters in another order miss the cache"
    MIXED_USERS = "a reader gets another reader's response"
    MIXED_STREAMS = "one stream is served as another"
    HEAD_OLD = "HEAD returns the tail from before an append"
    WRITE_LOST = "an append does not arrive as it was sent"
    NOT_PASSED = "a method is not passed on"
    SSE_HELD_BACK = "events are buffered"
    NO_SSE_COLLAPSE = "each SSE reader needs a connection to the origin"
    SSE_MIXED = "a reader that resumes gets another reader's events"
    TAIL_FROZEN = "a cached empty response hides an append"
    NO_STALE = "no stale response while the origin is slow"
    NO_304 = "a reader's copy is not revalidated"
    CONFIRMED_BEHIND = "only the origin revalidates a reader's copy"
    NOW_OLD = "`offset=now` returns an old tail"
    NOT_COMPRESSED = "history is sent uncompressed"
    WRONG_CODING = "a compressed response has the wrong body, `ETag` or `Vary`"
    LENGTH_SHOWN = "a live or private response is compressed"
    NO_TIMING = "pages cannot see whether a read was served from a copy"
    TIMED_PRIVATE = "pages of other sites see whether a private read was served from a copy"
    TOO_OLD = "a copy is served for longer than its lifetime"
    HOT_LOOP = "a client that ignores cursors loops"


class Finding(NamedTuple):
    """One cell of the table."""

    figures: str
    faults: frozenset[Fault]
    looked_for: frozenset[Fault]
    """What could have been found, too."""


def finding(figures: str, faults: Mapping[Fault, bool]) -> Finding:
    """Each fault that was looked for, and whether it is there."""
    there = frozenset(fault for fault, is_there in faults.items() if is_there)
    return Finding(figures, there, frozenset(faults))
