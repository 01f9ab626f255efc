"""Copy a stream from log to log: its records, its offsets, and state that no client can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import StreamGone, StreamNotFound
from headgate_gateway.logs.contract import Conflict, LoadedStream
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES, no_newer_than
from headgate_gateway.protocol.streams.state import Change, StreamState, records_after
from headgate_gateway.tools.copying.content import LONGER, OTHER
from headgate_gateway.tools.copying.contract import (
    GONE,
    CopyOutcome,
    Description,
    StreamRefused,
    check_alike,
)

if TYPE_CHECKING:
    from headgate_gateway.protocol.lifecycle import PathState
    from headgate_gateway.protocol.streams.state import ProducerState, Record
    from headgate_gateway.tools.copying.log_place import LogPlace

# Attempts at one stream in a row, while a gateway changes the source or the copy.
MAX_LOST_RACES = 20
# Seconds by which a deadline has to be later than that of the copy to replace it: two readings of
# the clocks differ by less.
LEAST_LATER_S = 1.0


class LogCopy:
    """The copy of one stream, which continues after what the destination has.

    Every commit expects the version of the copy that was read, so that nothing is stored twice. The
    producers are stored with the last records: their numbers must not be ahead of the records.
    """

    def __init__(self, source: LogPlace, target: LogPlace, path: str) -> None:
        self._source = source
        self._target = target
        self._path = path
        self._bytes = 0
        self._is_changed = False

    async def run(self) -> CopyOutcome:
        """Copy what is missing."""
        for _ in range(MAX_LOST_RACES):
            source = await self._source.log.load(self._path)
            if not self._source.is_present(source.path_state.state):
                return GONE
            try:
                await self._copy(source)
            except (Conflict, StreamGone, StreamNotFound):  # or retention has removed records
                continue
            return CopyOutcome(self._is_changed, self._bytes)
        raise StreamRefused("it, or its copy, is changed all the time")

    async def _copy(self, source: LoadedStream) -> None:
        """Copy a stream as it was loaded."""
        target = await self._target.load(self._path)
        assert source.path_state.state is not None, "it is present"
        if target.path_state.state is None:
            _check_retired(source.path_state.state, target.path_state)
        else:
            await self._compare(source.path_state.state, target.path_state.state)
        while (change := await self._next(source, target)) is not None:
            await self._target.log.commit((change,))
            self._is_changed = True
            self._bytes += sum(len(record.data) for record in change.records)
            producers = dict(change.producers) or target.producers
            path_state = msgspec.structs.replace(target.path_state, state=change.state)
            target = LoadedStream(path_state, producers)

    async def _compare(self, source: StreamState, copy: StreamState) -> None:
        """Raise StreamRefused unless the copy has the beginning of the source, and no more."""
        check_alike(Description.of(copy), Description.of(source))
        if copy.fork is not None or copy.soft_deleted:
            raise StreamRefused("the stream that is there already is a fork, or was deleted")
        if copy.tail > source.tail:
            raise StreamRefused(LONGER)
        position = max(source.first, copy.first)
        while position < copy.tail:
            end = min(position + CHUNK_BYTES, copy.tail)
            mine = await self._source.log.read(source, position, end)
            its = await self._target.log.read(copy, position, end)
            if (mine.start, mine.records) != (its.start, its.records):
                raise StreamRefused(OTHER)
            position = mine.end

    async def _next(self, loaded: LoadedStream, target: LoadedStream) -> Change | None:
        """Return the next change of the copy; None when it is complete."""
        source, copy = loaded.path_state.state, target.path_state.state
        assert source is not None, "it is present"
        position = source.first if copy is None else max(source.first, copy.tail)
        records: tuple[Record, ...] = ()
        if position < source.tail:
            chunk = await self._source.log.read(source, position, position + CHUNK_BYTES)
            if chunk.start != position:
                raise StreamRefused(OTHER)
            records = tuple(records_after(position, no_newer_than(chunk, source).records))
            position = records[-1].end
        state = self._state(source, target.path_state, position)
        producers: dict[str, ProducerState] = {}
        forgotten: tuple[str, ...] = ()
        if position == source.tail:
            known = target.producers
            producers = {name: it for name, it in loaded.producers.items() if known.get(name) != it}
            forgotten = tuple(name for name in known if name not in loaded.producers)
        is_same = copy is not None and msgspec.structs.replace(state, version=copy.version) == copy
        if is_same and not (records or producers or forgotten):
            return None
        return Change(
            state,
            None if copy is None else copy.version,
            records,
            tuple(producers.items()),
            forgotten,
            appends=len(records),
            trims=copy is not None and state.first > copy.first,
        )

    def _state(self, source: StreamState, path_state: PathState, tail: int) -> StreamState:
        """Return the state of the copy with records up to `tail`."""
        copy = path_state.state
        is_whole = tail == source.tail
        references = 0 if copy is None else copy.references
        first = source.first if copy is None else max(source.first, copy.first)
        return msgspec.structs.replace(
            source,
            stream_id=self._target.log.new_stream_id() if copy is None else copy.stream_id,
            version=0 if copy is None else copy.version + 1,
            tail=tail,
            closed=source.closed and is_whole,
            closed_by=source.closed_by if is_whole else None,
            stream_seq=source.stream_seq if is_whole else None,
            deadline=self._deadline(source, copy),
            references=references,
            fork=None,
            lineage=(),
            history=path_state.history,
            first=first,
            marks=tuple(mark for mark in source.marks if first < mark.position <= tail),
            trim_at=None if references else source.trim_at,
        )

    def _deadline(self, source: StreamState, copy: StreamState | None) -> float | None:
        """Return when the copy ends, by the clock of its log, which is never moved back."""
        if source.deadline is None or source.lifetime.ttl_s is None:
            return source.deadline
        ends = source.deadline - self._source.clock().steady + self._target.clock().steady
        if copy is None or copy.deadline is None or ends > copy.deadline + LEAST_LATER_S:
            return ends
        return copy.deadline


def _check_retired(source: StreamState, target: PathState) -> None:
    """Raise StreamRefused if readers may hold these offsets of a stream that was deleted."""
    if target.retired is not None and target.retired >= source.generation:
        raise StreamRefused(
            "a stream that was deleted there has given out the same offsets, which would come to "
            "mean other data: copy it to a place that has not had it"
        )
