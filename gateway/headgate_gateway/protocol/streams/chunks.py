"""Chunks: what one read returns, with boundaries that every reader shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import StreamGone
from headgate_gateway.protocol.streams.state import Segment, StreamState, reckoned_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.streams.offsets import Offset
    from headgate_gateway.protocol.streams.state import Record

CHUNK_BYTES = 256 * 1024


class Chunk(msgspec.Struct, frozen=True):
    """The result of a read: the records after `start`, and the stream at that moment.

    `start` is always the beginning of a record, whatever position was requested.
    """

    state: StreamState
    start: int
    end: int
    records: tuple[bytes, ...]

    @property
    def at_tail(self) -> bool:
        """True if no record followed when the chunk was read."""
        return self.end == self.state.tail

    @property
    def complete(self) -> bool:
        """True if the chunk ends at a boundary, so that no later read of `start` returns more."""
        return self.end >= boundary(self.start)


def boundary(start: int) -> int:
    """Return the boundary of a chunk from `start`: it ends at the first record end from there on.

    Boundaries count the stream's bytes, not from `start`: readers who begin anywhere soon request
    the same URLs, and caches have one copy for all.
    """
    return (start // CHUNK_BYTES + 1) * CHUNK_BYTES


def start_position(state: StreamState, offset: Offset | str | None) -> int:
    """Return where a read begins: None is the first record, NOW the tail (section 8).

    A read past the tail waits there. If other processes write to the log, `state` must have been
    confirmed after the offset arrived: another gateway may have given it out.
    """
    if offset is None:
        return state.first
    if isinstance(offset, str):
        return state.tail
    return min(reckoned_position(state, offset), state.tail)


def check_retained(state: StreamState, start: int) -> None:
    """Raise StreamGone if retention has removed records after `start`."""
    if start < state.first:
        raise StreamGone("what follows offset is no longer kept")


def empty(state: StreamState) -> Chunk:
    """Return the empty chunk at the tail."""
    return Chunk(state, state.tail, state.tail, ())


def no_newer_than(chunk: Chunk, state: StreamState) -> Chunk:
    """Return the part of a chunk that the stream had at `state`, an earlier moment."""
    end, count = chunk.start, 0
    while count < len(chunk.records) and end + len(chunk.records[count]) <= state.tail:
        end += len(chunk.records[count])
        count += 1
    return Chunk(state, chunk.start, end, chunk.records[:count])


def cut(state: StreamState, start: int, records: Sequence[Record]) -> list[Chunk]:
    """Cut records that follow `start` into chunks, at the same boundaries as any catch-up."""
    parts: list[Chunk] = []
    datas: list[bytes] = []
    limit = boundary(start)
    for record in records:
        datas.append(record.data)
        if record.end >= limit:
            parts.append(Chunk(state, start, record.end, tuple(datas)))
            start, limit, datas = record.end, boundary(record.end), []
    if datas:
        parts.append(Chunk(state, start, records[-1].end, tuple(datas)))
    return parts


def segments_from(state: StreamState, start: int) -> list[Segment]:
    """Return where the records after `start` are stored, in order; the stream itself comes last."""
    segments = [Segment(state.stream_id, state.tail, state.path)]
    if state.lineage:
        segments[:0] = [segment for segment in state.lineage if segment.end > start]
    return segments
