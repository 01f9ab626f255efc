"""Chunks: what one read returns, with boundaries that every reader shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.protocol.streams.generations import reckoned_position
from gateway.protocol.streams.state import Segment, StreamState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.protocol.streams.offsets import Offset
    from gateway.protocol.streams.state import Record

CHUNK_BYTES = 256 * 1024


class Chunk(msgspec.Struct, frozen=True):
    """What one read saw at one moment: the records after `start`, and the stream as it stood.

    `start` is always where a record begins, wherever the reader asked from.
    """

    state: StreamState
    start: int
    end: int
    records: tuple[bytes, ...]

    @property
    def at_tail(self) -> bool:
        """Whether nothing followed when it was read."""
        return self.end == self.state.tail

    @property
    def closed(self) -> bool:
        """Whether nothing can ever follow."""
        return self.at_tail and self.state.closed

    @property
    def complete(self) -> bool:
        """Whether it ends at a boundary, so that no later read of `start` returns more."""
        return self.end >= boundary(self.start)


def boundary(start: int) -> int:
    """Where a chunk from `start` may end: the first record end at or past this position.

    Counted in the stream's own bytes, not from `start`: readers who begin anywhere soon ask for
    the same URLs, and caches hold one copy for all.
    """
    return (start // CHUNK_BYTES + 1) * CHUNK_BYTES


def start_position(state: StreamState, offset: Offset | str | None) -> int:
    """Where a read begins: None is the first that is kept, NOW the tail (section 8).

    Past the tail it waits there. Of a log that others write to, too, `state` must have been
    confirmed after the offset came, or it is one that another gateway has given out.
    """
    if offset is None:
        return state.first
    if isinstance(offset, str):
        return state.tail
    return min(reckoned_position(state, offset), state.tail)


def empty(state: StreamState) -> Chunk:
    """What a reader at the tail has."""
    return Chunk(state, state.tail, state.tail, ())


def no_newer_than(chunk: Chunk, state: StreamState) -> Chunk:
    """The part of a chunk that the stream has at `state`, an earlier moment of the same stream."""
    end, kept = chunk.start, 0
    while kept < len(chunk.records) and end + len(chunk.records[kept]) <= state.tail:
        end += len(chunk.records[kept])
        kept += 1
    return Chunk(state, chunk.start, end, chunk.records[:kept])


def cut(state: StreamState, start: int, records: Sequence[Record]) -> list[Chunk]:
    """Records that follow `start`, cut where every catch-up would cut them."""
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


def segments_from(state: StreamState, start: int) -> Iterator[Segment]:
    """Where the records after `start` are stored, in order; the stream's own id comes last."""
    for segment in state.lineage:
        if segment.end > start:
            yield segment
    yield Segment(state.stream_id, state.tail, state.path)
