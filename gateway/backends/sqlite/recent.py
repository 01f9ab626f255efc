"""Appends in the order of their commits, until those of a stream are filed at its place together.

At its place each stream has a page of records' index and a page of states. A commit of short
appends to a thousand streams would write both for each of them, twice: 15 us of a processor for an
append, where rows that follow each other take 4. So a short append that only makes a stream longer
is a row of `recent` first. What is in such rows is in memory, too, where reads find it.

There is a bound to it, beyond which each commit files as much as it adds: lap by lap in the
order of ids, so that streams whose pages are the same ones are filed together. When a lap is
over, all that was there when it began is filed, and the rows are taken away. A row of a version
that the stream's own row has reached is filed, or never was part of what followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.backends.sqlite.records import row_of
from gateway.backends.sqlite.state_rows import UPSERT_PRODUCER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    import apsw

    from gateway.protocol.streams.state import Change, Record, StreamState

    Changes = list[Change]  # of one stream, in their order; other threads read it as it grows

COLUMNS = "stream, end, crc, sizes, data, nr, version, producers"

# Not filed yet: a commit then files several streams whose pages are the same, and opening the file
# takes a second at most. In memory a row is half a KB and its records: 24 MB at most.
MOST_ROWS = 32_768
MOST_BYTES = 8 * 1024 * 1024  # of records in memory: of one stream all of it is filed in one commit
RECORD_BYTES = 100  # that a record takes in memory besides its data
# Bytes of a row. A longer one costs less at its place: it would be written twice, half a page each.
LONGEST = 2048
FILED_BYTES = 64 * 1024  # of a row at a stream's place: a read of some of it reads all of it
STEP = 2000  # rows of one transaction when a file is opened: so small its WAL stays

_CURRENT = "recent.nr<=?1 and recent.version>streams.version"
_FILE = (
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


def file_all(connection: apsw.Connection) -> None:
    """File what an earlier connection left: each row by itself, with its checksum as it is."""
    first_rows = "select max(nr) from (select nr from recent order by nr limit ?)"
    while any(last := connection.execute(first_rows, (STEP,)).fetchall()[0]):
        connection.execute("begin immediate")
        for statement in _FILE:
            connection.execute(statement, last)
        connection.execute("commit")


class RecentStep(NamedTuple):
    """What one commit does with `recent`: rows are added, and those up to `gone` taken away.

    Streams are filed, or `dropped` by their paths, since they end.
    """

    added: Sequence[Change]
    filed: Sequence[Changes]
    dropped: Set[str]
    gone: int | None


class Recent:
    """What is not filed, by path. The writer's thread writes it, when a commit stands."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """All is filed, and `recent` empty."""
        self._streams: dict[str, Changes] = {}
        self.rows = 0  # that are not filed
        self._bytes = 0  # that their records take
        self._last = 0  # the last row
        self._lap: list[Changes] = []  # what this lap has still to file, the next one last
        self._lap_began = 0  # behind this row
        self._filed = 0  # up to this row; of which are
        self._gone = 0  # gone up to this row

    # Any thread: what is found before the file is looked at is there, or in the file, or in both.

    def of(self, path: str) -> Sequence[Change]:
        """What is not filed of the stream at `path`."""
        return tuple(self._streams.get(path, ()))

    def of_all(self) -> Mapping[str, Sequence[Change]]:
        """What is not filed, by path; of a stream there may be more by and by."""
        return self._streams.copy()

    # The writer's thread

    def rows_of(self, changes: Sequence[Change]) -> list[tuple[object, ...]]:
        """The rows of changes, by COLUMNS."""
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
        """The latest version of a stream, if anything of it is not filed."""
        changes = self._streams.get(state.path)
        if changes is None or changes[-1].state.stream_id != state.stream_id:
            return None
        return changes[-1].state.version

    def step(self, added: Sequence[Change], whole: Set[str], dropped: Set[str]) -> RecentStep:
        """What one commit does that adds these changes, and others of the streams at `whole`.

        Of those at `dropped` nothing is filed.
        """
        streams = self._streams
        found = [streams[path] for path in whole - dropped if path in streams]
        seen = {id(streams[path]) for path in whole | dropped if path in streams}
        rows = self.rows + len(added) - MOST_ROWS
        size = self._bytes + _bytes_of(added) - MOST_BYTES
        while (rows > 0 or size > 0) and (changes := self._next(seen)) is not None:
            seen.add(id(changes))
            found.append(changes)
            rows -= len(changes)
            size -= _bytes_of(changes)
        return RecentStep(added, found, dropped, self._rows_to_remove(len(added)))

    def _next(self, seen: Set[int]) -> Changes | None:
        """The next of this lap, or of another one, that is neither filed nor seen."""
        for _ in range(2):
            while self._lap:
                changes = self._lap.pop()
                stands = self._streams.get(changes[0].state.path)
                if stands is changes and id(changes) not in seen:
                    return changes
            self._filed = self._lap_began
            self._lap_began = self._last
            self._lap = sorted(self._streams.values(), key=_id_of, reverse=True)
        return None

    def _rows_to_remove(self, added: int) -> int | None:
        if self._gone == self._filed:
            return None
        return min(self._filed, self._gone + 2 * added)

    def note(self, step: RecentStep) -> None:
        """A commit stands."""
        for path in (*(changes[0].state.path for changes in step.filed), *step.dropped):
            gone = self._streams.pop(path, ())
            self.rows -= len(gone)
            self._bytes -= _bytes_of(gone)
        for change in step.added:
            if change.state.path in self._streams:
                self._streams[change.state.path].append(change)
            else:
                self._streams[change.state.path] = [change]
        self.rows += len(step.added)
        self._bytes += _bytes_of(step.added)
        self._last += len(step.added)
        if step.gone is not None:
            self._gone = step.gone


def is_ahead(waiting: Sequence[Change], state: StreamState) -> bool:
    """Whether what is not filed goes on behind a stream's state in the file."""
    if not waiting:
        return False
    latest = waiting[-1].state
    return latest.stream_id == state.stream_id and latest.version > state.version


def filed_rows(changes: Changes) -> Iterator[tuple[object, ...]]:
    """The rows at a stream's place that hold what is not filed of it."""
    records: list[Record] = []
    size = 0
    for change in changes:
        size += change.grown
        if records and size > FILED_BYTES:
            yield row_of(change.state.stream_id, records)
            records, size = [], change.grown
        records += change.records
    yield row_of(changes[0].state.stream_id, records)


def _bytes_of(changes: Sequence[Change]) -> int:
    return sum([change.grown + RECORD_BYTES * len(change.records) for change in changes])


def _id_of(changes: Changes) -> int:
    return changes[0].state.stream_id
