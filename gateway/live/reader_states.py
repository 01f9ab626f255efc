"""The live readers of a feed as the console shows them."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gateway.live.contract import ReaderState

if TYPE_CHECKING:
    from gateway.live.feed import Feed
    from gateway.telemetry.inspection import ReaderMode


def reader_states(feed: Feed[Any, Any], most: int) -> list[ReaderState]:
    """Return the states of `most` readers at most, the furthest behind first."""
    found = [
        *(ReaderState("sse", *state) for state in feed.sse_readers.readers(most)),
        *(ReaderState("long-poll", *state) for state in feed.long_polls.waiting.readers(most)),
    ]
    return sorted(found, key=attrgetter("offset"))[:most]


def readers_by_mode(feed: Feed[Any, Any]) -> dict[ReaderMode, int]:
    """Return the number of a feed's readers by their mode."""
    return {"sse": len(feed.sse_readers), "long-poll": len(feed.long_polls.waiting.parked)}
