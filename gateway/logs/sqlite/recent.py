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

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.logs.sqlite.rows import UPSERT_PRODUCER, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    import apsw

    from gateway.protocol.streams.state import Change, Record, StreamState

    Changes = list[Change]  # one stream's, in order; other threads read the list as it grows

COLUMNS = "stream, end, crc, sizes, data, nr, version, producers"

# Rows that are not compacted yet. So many let a commit compact several streams on the same pages,
# and opening the file takes a second at most. In memory a row takes half a KB and its records: at
# most 24 MB.
MOST_ROWS = 32_768
# Records in memory. If all are one stream's, one commit compacts all of them.
MOST_BYTES = 8 * 1024 * 1024
RECORD_BYTES = 100  # memory of a record besides its data
# Bytes of a row. A longer record costs less in its own place: here it would be written twice.
LONGEST = 2048
# The bounds of the whole table, with compacted rows, as a multiple of MOST_ROWS and MOST_BYTES. At
# a steady pace a lap takes MOST_ROWS rows, and old rows are deleted within two or three laps. Where
# streams are closed, and so compacted, before there are so many rows, no lap would end by itself.
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
    deleted_up_to: int | None  # row id


class Recent:
    """The changes that are not compacted yet, by path; only the writer's thread changes them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all changes: the table `recent` is empty."""
        self._streams: dict[str, Changes] = {}
        self.rows = 0  # rows that are not compacted
        self._bytes = 0  # memory of their records
        self._last = 0  # id of the last row
        self._lap: list[Changes] = []  # still to be compacted in this lap, the next one last
        self._lap_began = 0  # id of the last row when the lap began
        self._compacted_up_to = 0  # row id
        self._written = 0  # bytes of all rows, as `_bytes` counts them, and at the same rows:
        self._lap_written = 0
        self._compacted_written = 0
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
                nr,
                change.state.version,
                _encode(change.producers).decode() if change.producers else None,
            )
            for nr, change in enumerate(changes, self._last + 1)
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
        rows = max(self.rows + len(added) - MOST_ROWS, self._rows_to_hasten(len(added)))
        size = self._bytes + _bytes_of(added) - MOST_BYTES
        while (rows > 0 or size > 0) and (changes := self._next(seen)) is not None:
            seen.add(id(changes))
            found.append(changes)
            rows -= len(changes)
            size -= _bytes_of(changes)
        return RecentStep(added, found, dropped, self._rows_to_remove(len(added)))

    def _rows_to_hasten(self, added: int) -> int:
        """Return how many rows to compact so that laps end while the table is over its bounds."""
        is_long = self._last - self._deleted_up_to > TABLE_LAPS * MOST_ROWS
        is_large = self._written - self._compacted_written > TABLE_LAPS * MOST_BYTES
        return added + 1 if is_long or is_large else 0

    def _next(self, seen: Set[int]) -> Changes | None:
        """Return the next waiting stream of this lap, or of a new one, that is not in `seen`."""
        for _ in range(2):
            while self._lap:
                changes = self._lap.pop()
                stands = self._streams.get(changes[0].state.path)
                if stands is changes and id(changes) not in seen:
                    return changes
            self._compacted_up_to, self._compacted_written = self._lap_began, self._lap_written
            self._lap_began, self._lap_written = self._last, self._written
            self._lap = sorted(
                self._streams.values(), key=lambda it: it[0].state.stream_id, reverse=True
            )
        return None

    def _rows_to_remove(self, added: int) -> int | None:
        if self._deleted_up_to == self._compacted_up_to:
            return None
        return min(self._compacted_up_to, self._deleted_up_to + 2 * added)

    def note(self, step: RecentStep) -> None:
        """Apply the effect of a commit that succeeded to the changes in memory."""
        for path in (*(changes[0].state.path for changes in step.compacted), *step.dropped):
            changes = self._streams.pop(path, ())
            self.rows -= len(changes)
            self._bytes -= _bytes_of(changes)
        for change in step.added:
            if change.state.path in self._streams:
                self._streams[change.state.path].append(change)
            else:
                self._streams[change.state.path] = [change]
        self.rows += len(step.added)
        added = _bytes_of(step.added)
        self._bytes += added
        self._written += added
        self._last += len(step.added)
        if step.deleted_up_to is not None:
            self._deleted_up_to = step.deleted_up_to


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


def _bytes_of(changes: Sequence[Change]) -> int:
    return sum([change.grown + RECORD_BYTES * len(change.records) for change in changes])
