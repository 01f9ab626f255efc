"""One stream of a log, as its page on the dashboard shows it."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from gateway.hosted.feeds import HostedFollower
from gateway.protocol.offsets import parse_offset
from gateway.telemetry.inspection import (
    MOST_PRODUCERS,
    MOST_READERS,
    ProducerRow,
    ReaderRow,
    StreamDescription,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.live.feed import Feed
    from gateway.protocol.state import ProducerState, Record, StreamState
    from gateway.streams.active_stream import ActiveStream
    from gateway.telemetry.inspection import ReaderMode, StreamRow


def described(row: StreamRow, state: StreamState, active: ActiveStream) -> StreamDescription:
    """A stream as it stands, with its readers in this process."""
    follower = active.follower
    feed = follower.feed if isinstance(follower, HostedFollower) else None
    by_mode: dict[ReaderMode, int] = {}
    if feed is not None:
        by_mode = {"sse": len(feed.sse_readers), "long-poll": len(feed.long_polls)}
    return StreamDescription(
        row,
        dict(_metadata(state)),
        _producers(active.producers),
        len(active.producers),
        () if feed is None else _readers(feed, state),
        by_mode,
    )


def _metadata(state: StreamState) -> Iterator[tuple[str, str]]:
    yield "content type", state.content_type
    yield "generation", str(state.generation)
    if state.created_at is not None:
        yield "created", _moment(state.created_at)
    if state.lifetime.ttl_s is not None:
        yield "lives on after its last use for", f"{state.lifetime.ttl_s} s"
    if state.deadline is not None:
        yield "ends", _moment(state.deadline)
    if state.fork is not None:
        yield "forked from", state.fork.source_path
    if state.references:
        yield "forks that need it", str(state.references)
    yield "begins at", state.offset(state.first)
    yield "size", f"{state.size} bytes"
    yield "closed", "yes" if state.closed else "no"


def _moment(seconds: float) -> str:
    """A moment as RFC 3339 text; one that no calendar has as it is counted."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return f"{seconds:.0f} s after 1970"


def _producers(known: Mapping[str, ProducerState]) -> tuple[ProducerRow, ...]:
    """Those that were used last."""
    latest = heapq.nlargest(MOST_PRODUCERS, known.items(), key=lambda item: item[1].used_at)
    return tuple(ProducerRow(name, state.epoch, state.seq) for name, state in latest)


class Readers(Protocol):
    """The readers of one mode."""

    def readers(self, most: int) -> list[tuple[str, str]]:
        """Offset and state of each, the furthest behind first, at most so many."""


def _readers(feed: Feed[StreamState, Record], state: StreamState) -> tuple[ReaderRow, ...]:
    """The furthest behind first."""
    modes: tuple[tuple[ReaderMode, Readers], ...] = (
        ("sse", feed.sse_readers),
        ("long-poll", feed.long_polls),
    )
    rows = [
        ReaderRow(mode, offset, _behind(state, offset), how)
        for mode, readers in modes
        for offset, how in readers.readers(MOST_READERS)
    ]
    return tuple(sorted(rows, key=lambda row: row.offset)[:MOST_READERS])


def _behind(state: StreamState, offset: str) -> int:
    return max(0, state.tail - parse_offset(offset, "offset").position)
