"""Short appends in the order of their commits, until those of a stream are compacted together.

In its own place each stream has a page of the index of records and a page of states. A commit of
short appends to a thousand streams would write both pages of each stream, twice: 15 us of
processor time for an append, where rows that follow each other take 4. So a short append that only
makes a stream longer is first a row of the table `recent`. The changes in such rows are in memory
too, where reads find them.

The table is bounded: beyond the bound each commit compacts as much as it adds, lap by lap in the
order of stream ids, so that streams on the same pages are compacted together. When a lap is over,
all changes that were waiting when it began are compacted, and their rows are deleted. A row whose
version the stream's own row has reached is compacted already, or was never part of the stream.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.logs.sqlite.rows import UPSERT_PRODUCER, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    import apsw

    from headgate_gateway.protocol.streams.state import Change, Record, StreamState

    Changes = list[Change]  # one stream's, in order; other threads read the list as it grows

COLUMNS = "stream, end, crc, sizes, data, nr, version, producers"

# Bytes of the changes that are not compacted yet. These are at most 46,000, or 30,000 of 100 bytes
# each, which take 24 MB of memory with their objects. So many let a commit compact several streams
# on the same pages, and opening the file takes a second at most. If all are one stream's, one
# commit compacts all of them.
MOST_BYTES = 8 * 1024 * 1024
RECORD_BYTES = 180  # of a record besides its data
# Bytes of a row. A longer record costs less in its own place: here it would be written twice.
LONGEST = 2048
# The bound of the whole table, with compacted rows, as a multiple of MOST_BYTES. At a steady pace a
# lap takes MOST_BYTES, and old rows are deleted within two or three laps. Where streams are closed,
# and so compacted, before so much waits, no lap would end by itself.
TABLE_LAPS = 3
COMPACTED_BYTES = 64 * 1024  # most bytes of a compacted row: to read a part of it, all is read
STEP = 2000  # rows compacted in one transaction when a file is opened: its WAL stays small

_CURRENT = "recent.nr<=?1 and recent.version>streams.version"
_COMPACT = (
    "insert into messages (stream, end, crc, sizes, data)"
    " select stream, end, crc, sizes, data from recent join streams on streams.id=recent.stream"
    f" where {_CURRENT} order by stream, nr",
    "insert into producers"
    " select stream, one.value->>0, one.value->>'$[1][0]', one.value->>'$[1][1]',"
    " one.value->>'$[1][2]' from recent join streams on streams.id=recent.stream,"
    f" json_each(recent.producers) as one where {_CURRENT} order by nr{UPSERT_PRODUCER}",
    "update streams set version=last.version, tail=last.tail from"
    " (select stream, max(version) as version, max(end) as tail from recent where nr<=?1"
    " group by stream) as last where streams.id=last.stream and last.version>streams.version",
    "delete from recent where nr<=?1",
)

_encode = msgspec.json.Encoder().encode


def compact_all(connection: apsw.Connection) -> None:
    """Compact what an earlier connection left: each row by itself, with its own checksum."""
    first_rows = "select max(nr) from (select nr from recent order by nr limit ?)"
    while any(last := connection.execute(first_rows, (STEP,)).fetchall()[0]):
        connection.execute("begin immediate")
        for statement in _COMPACT:
            connection.execute(statement, last)
        connection.execute("commit")


class RecentStep(NamedTuple):
    """The effect of a commit on the table `recent`: rows are added, and old rows deleted.

    Streams are compacted into `messages`, or `dropped` by their paths because they end.
    """

    added: Sequence[Change]
    compacted: Sequence[Changes]
    dropped: Set[str]
    deleted_up_to: int  # row id; 0 if no rows are deleted


class Recent:
    """The changes that are not compacted yet, by path; only the writer's thread changes them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all changes: the table `recent` is empty."""
        self._streams: dict[str, Changes] = {}
        self.rows = 0  # rows that are not compacted
        self._bytes = 0  # of these rows
        # A row's id is the number of bytes of all rows up to it.
        self._last = 0  # id of the last row
        self._lap: list[Changes] = []  # still to be compacted in this lap, the next one last
        self._lap_began = 0  # id of the last row when the lap began
        self._compacted_up_to = 0  # row id
        self._deleted_up_to = 0  # row id, at most _compacted_up_to

    # For any thread, which calls these before it reads the file: a change is in memory, in the
    # file's compacted rows, or in both.

    def waiting_changes(self, path: str) -> Sequence[Change]:
        """Return the changes of the stream at `path` that are not compacted."""
        return tuple(self._streams.get(path, ()))

    def all_waiting_changes(self) -> Mapping[str, Sequence[Change]]:
        """Return the changes that are not compacted, by path; a stream's list may still grow."""
        return self._streams.copy()

    # For the writer's thread

    def rows_of(self, changes: Sequence[Change]) -> list[tuple[object, ...]]:
        """Return the rows of changes, in the order of COLUMNS."""
        return [
            (
                *row_of(change.state.stream_id, change.records),
                self._last + size,
                change.state.version,
                _encode(change.producers).decode() if change.producers else None,
            )
            for change, size in zip(changes, accumulate(_sizes(changes)), strict=True)
        ]

    def version(self, state: StreamState) -> int | None:
        """Return the latest version of a stream that has waiting changes, else None."""
        changes = self._streams.get(state.path)
        if changes is None or changes[-1].state.stream_id != state.stream_id:
            return None
        return changes[-1].state.version

    def step(self, added: Sequence[Change], whole: Set[str], dropped: Set[str]) -> RecentStep:
        """Return the effect of a commit of these changes that also writes the streams at `whole`.

        Nothing of the streams at `dropped` is compacted.
        """
        streams = self._streams
        found = [streams[path] for path in whole - dropped if path in streams]
        seen = {id(streams[path]) for path in whole | dropped if path in streams}
        size = sum(_sizes(added))
        to_compact = self._bytes + size - MOST_BYTES
        if self._last - self._deleted_up_to > TABLE_LAPS * MOST_BYTES:
            to_compact = max(to_compact, size + 1)  # so that laps end
        while to_compact > 0 and (changes := self._next(seen)) is not None:
            seen.add(id(changes))
            found.append(changes)
            to_compact -= sum(_sizes(changes))
        deleted_up_to = 0
        if self._deleted_up_to < self._compacted_up_to:
            deleted_up_to = min(self._compacted_up_to, self._deleted_up_to + 2 * size)
        return RecentStep(added, found, dropped, deleted_up_to)

    def _next(self, seen: Set[int]) -> Changes | None:
        """Return the next waiting stream of this lap, or of a new one, that is not in `seen`."""
        for _ in range(2):
            while self._lap:
                changes = self._lap.pop()
                waits = self._streams.get(changes[0].state.path) is changes
                if waits and id(changes) not in seen:
                    return changes
            self._compacted_up_to, self._lap_began = self._lap_began, self._last
            self._lap = sorted(
                self._streams.values(), key=lambda it: it[0].state.stream_id, reverse=True
            )
        return None

    def note(self, step: RecentStep) -> None:
        """Apply the effect of a commit that succeeded to the changes in memory."""
        for path in (*(changes[0].state.path for changes in step.compacted), *step.dropped):
            changes = self._streams.pop(path, ())
            self.rows -= len(changes)
            self._bytes -= sum(_sizes(changes))
        for change in step.added:
            if change.state.path in self._streams:
                self._streams[change.state.path].append(change)
            else:
                self._streams[change.state.path] = [change]
        self.rows += len(step.added)
        size = sum(_sizes(step.added))
        self._bytes += size
        self._last += size
        self._deleted_up_to = max(self._deleted_up_to, step.deleted_up_to)


def is_ahead(waiting: Sequence[Change], state: StreamState) -> bool:
    """Return whether the waiting changes are newer than a stream's state in the file."""
    if not waiting:
        return False
    latest = waiting[-1].state
    return latest.stream_id == state.stream_id and latest.version > state.version


def compacted_rows(changes: Changes) -> Iterator[tuple[object, ...]]:
    """Yield the rows of `messages` that hold the waiting changes of a stream."""
    records: list[Record] = []
    size = 0
    for change in changes:
        size += change.grown
        if records and size > COMPACTED_BYTES:
            yield row_of(change.state.stream_id, records)
            records, size = [], change.grown
        records += change.records
    yield row_of(changes[0].state.stream_id, records)


def _sizes(changes: Sequence[Change]) -> list[int]:
    return [change.grown + RECORD_BYTES * len(change.records) for change in changes]
