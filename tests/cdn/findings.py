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
    LATE = "news come late"
    LOST = "readers miss data, or get some twice"
    NO_HITS = "equal reads all reach the origin"
    ORDER_MATTERS = "a query in another order reaches the origin"
    MIXED_USERS = "a reader is given what is another's"
    MIXED_STREAMS = "a stream is given as another one"
    HEAD_OLD = "HEAD does not see an append"
    WRITE_LOST = "an append does not arrive as it was sent"
    NOT_PASSED = "a method does not arrive"
    SSE_HELD_BACK = "events are held back"
    NO_SSE_COLLAPSE = "each SSE reader costs a connection to the origin"
    SSE_MIXED = "a reader who resumes is given another one's events"
    TAIL_FROZEN = "an empty tail hides an append"
    NO_STALE = "a copy is not given while the origin is slow"
    NO_304 = "a reader's copy is not confirmed"
    CONFIRMED_BEHIND = "a reader's copy is confirmed by the origin only"
    NOW_OLD = "`offset=now` is not now"
    HOT_LOOP = "a client that ignores cursors goes in circles"


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
