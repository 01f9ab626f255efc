"""Streams as rows: the statements that read and write them, few in number for each commit.

Each statement hands the interpreter over and takes it back, which under load costs more than the
statement itself; so a group's rows are written by one statement a table.
"""

from __future__ import annotations

import contextlib
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from gateway.backends.contract import Listed, Loaded
from gateway.backends.sqlite import records as records
from gateway.backends.sqlite.records import Taken
from gateway.backends.sqlite.state_rows import (
    COLUMNS,
    MOVE,
    UPSERT,
    moved_row,
    row_of_state,
    state_of,
)
from gateway.errors import StreamNotFound
from gateway.protocol.chunks import Chunk, segments_from
from gateway.protocol.generations import raised
from gateway.protocol.lifecycle import PathState
from gateway.protocol.state import Change, ProducerState, Segment, StreamState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_ROWS = 500  # rows of one statement; its parameters stay far below SQLite's 32,766
RECLAIM_ROWS = 1000  # freed in one step, together with
RECLAIM_BYTES = 4 * 1024 * 1024  # a few milliseconds of the writer's time
VACUUM_PAGES = 256  # pages given back in one step
SPARE_PAGES = 1024  # free pages worth keeping for the next appends

# Streams whose rows are known, since they were written last: nobody else writes to the file. They
# are those that are appended to again and again, about 1 KiB each.
MAX_KNOWN = 10_000

LAST = "\U0010ffff"  # sorts behind whatever follows the beginning of a path

T = TypeVar("T")


class Reader:
    """Reads over one connection, in one history; every answer is of one moment."""

    def __init__(self, connection: apsw.Connection, history: int) -> None:
        self._connection = connection
        self._history = history

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def load(self, paths: Sequence[str]) -> dict[str, Loaded | Exception]:
        """What stands at each path, with its producers and the generation last removed there.

        There are MAX_ROWS paths at most. A row that cannot be understood is that path's matter.
        """
        places = f"path in ({','.join('?' * len(paths))})"
        with self._connection:
            rows = self._all(f"select {COLUMNS} from streams where {places}", paths)
            retired = dict(self._all(f"select path, generation from retired where {places}", paths))
            floor = self._one("select value from meta where name='generation_floor'", ())
            states = {row[1]: self._tried(row) for row in rows}
            ids = [it.stream_id for it in states.values() if isinstance(it, StreamState)]
            producers = self._producers(ids) if ids else {}
        generation = None if floor is None else floor[0]
        found: dict[str, Loaded | Exception] = {}
        for path in paths:
            state = states.get(path)
            if isinstance(state, Exception):
                found[path] = state
                continue
            place = PathState(state, retired.get(path, generation), self._history)
            found[path] = Loaded(place, {} if state is None else producers.get(state.stream_id, {}))
        return found

    def _tried(self, row: tuple[object, ...]) -> StreamState | Exception:
        try:
            return self._state(row)
        except Exception as error:  # noqa: BLE001 - the other rows are sound
            return error

    def _state(self, row: tuple[object, ...]) -> StreamState:
        """A stream as it goes on in the present history."""
        state = state_of(row)
        return raised(state, self._history) if self._history else state

    def _producers(self, stream_ids: Sequence[int]) -> dict[int, dict[str, ProducerState]]:
        found: dict[int, dict[str, ProducerState]] = {}
        for stream_id, name, *state in self._all(
            "select stream, producer, epoch, seq, used_at from producers"
            f" where stream in ({','.join('?' * len(stream_ids))})",
            stream_ids,
        ):
            found.setdefault(stream_id, {})[name] = ProducerState(*state)
        return found

    def _all(self, statement: str, values: Sequence[object]) -> list[Any]:
        return self._connection.execute(statement, tuple(values)).fetchall()

    def read(self, known: StreamState, start: int, end: int) -> Chunk:
        """The records after `start`, checked, up to the first end at or past `end`."""
        with self._connection:
            row = self._one(f"select {COLUMNS} from streams where id=?", (known.stream_id,))
            if row is None:
                raise StreamNotFound("the stream was deleted")
            state = self._state(row)
            taken = Taken(state, start)
            for segment in segments_from(state, start):
                for row in self._rows(segment, taken.position, end):
                    taken.row(segment, end, *row)
                if taken.position < min(end, segment.end):
                    raise taken.damage("missing")
                if taken.position >= end:
                    break
        return Chunk(state, taken.start, taken.position, tuple(taken.records))

    def _rows(
        self, segment: Segment, start: int, end: int
    ) -> list[tuple[int, int, bytes | None, bytes]]:
        upper = min(end, segment.end)
        rows: list[Any] = self._connection.execute(
            "select end, crc, sizes, data from messages where stream=?1 and end>?2 and end<="
            "(select min(end) from messages where stream=?1 and end>=?3) order by end",
            (segment.stream_id, start, upper),
        ).fetchall()
        return rows

    def expired(self, now: float, limit: int) -> list[str]:
        """Paths of streams whose deadline has passed."""
        rows = self._connection.execute(
            "select path from streams where deadline<=? order by deadline limit ?", (now, limit)
        )
        return [path for (path,) in rows]

    def list_streams(self, begins: str, after: str, limit: int) -> Listed:
        """The first streams after a path: one stretch of the index of paths."""
        lower, compared = (begins, ">=") if begins > after else (after, ">")
        rows = self._connection.execute(
            f"select {COLUMNS} from streams where path{compared}? and path<? order by path limit ?",
            (lower, begins + LAST, limit + 1),
        )
        states = [self._state(row) for row in rows]
        return Listed(states[:limit], states[limit - 1].path if len(states) > limit else None)

    def largest(self, begins: str, most: int) -> list[tuple[int, str]]:
        """The largest streams, of which SQLite keeps no more than these while it looks at all.

        To look at all rows as they lie takes an eighth of the time of looking them up by path.
        """
        rows = self._connection.execute(
            "select tail-coalesce(detail->>'first', 0) as size, path from streams not indexed"
            " where path>=? and path<? order by size desc, path desc limit ?",
            (begins, begins + LAST, most),
        )
        return [(size, path) for size, path in rows]

    def _one(self, statement: str, values: tuple[object, ...]) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._connection.execute(statement, values).fetchone()
        return row


class Writer:
    """Writes over one connection, for one thread."""

    def __init__(self, connection: apsw.Connection, max_retired: int) -> None:
        self._connection = connection
        self._max_retired = max_retired
        self._retired = self._number("select count(*) from retired")
        self._known: dict[int, StreamState] = {}
        self.streams = self._number("select count(*) from streams")
        self.stored: Sequence[Change] = ()  # by the last group
        self.written_at = 0.0  # when it was written, and the sync to disk began (monotonic)

    def close(self) -> None:
        """Close the connection; what it cannot take into the file now stays in the WAL."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()

    def last_stream_id(self) -> int:
        """The highest id in the file."""
        return self._number(
            "select max(coalesce((select max(id) from streams), 0),"
            " coalesce((select max(stream) from doomed), 0))"
        )

    def history(self) -> int:
        """In which history of the file its streams are changed; 0 before any was lost."""
        return self._number("select coalesce((select value from meta where name='history'), 0)")

    def prove(self) -> None:
        """A commit of our own: shows that the file takes writes again."""
        self._connection.execute(
            "begin immediate; insert into meta values ('recoveries', 1)"
            " on conflict (name) do update set value=value+1; commit"
        )

    def commit(self, commits: Sequence[Sequence[Change]]) -> list[bool]:
        """One transaction for the group; for each of its commits whether the versions stood."""
        connection = self._connection
        connection.execute("begin immediate")
        try:
            stood, changes = self._compare(commits)
            self._write(changes)
            self.written_at = time.monotonic()
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            self._retired = -1
            self._known.clear()
            raise
        self._note(changes)
        self.stored = changes
        self.streams += sum((it.expected is None) - it.removes for it in changes)
        return stood

    def _note(self, changes: Sequence[Change]) -> None:
        """Know the rows as they are now."""
        known = self._known
        for change in changes:
            known.pop(change.state.stream_id, None)
            if not change.removes:
                known[change.state.stream_id] = change.state
        for stream_id in list(islice(known, max(0, len(known) - MAX_KNOWN))):
            del known[stream_id]

    def _compare(self, commits: Sequence[Sequence[Change]]) -> tuple[list[bool], list[Change]]:
        versions = self._versions(list(chain.from_iterable(commits)))
        stood: list[bool] = []
        changes: list[Change] = []
        for commit in commits:
            fits = all(versions.get(_key(change)) == change.expected for change in commit)
            stood.append(fits)
            if not fits:
                continue
            changes.extend(commit)
            for change in commit:
                version = None if change.removes else change.state.version
                versions[change.state.path] = versions[change.state.stream_id] = version
        return stood, changes

    def _versions(self, changes: list[Change]) -> dict[str | int, int | None]:
        """What stands now: versions by id for changes, by path for creations."""
        versions: dict[str | int, int | None] = {}
        known, ids = self._known, []
        for change in changes:
            if change.expected is not None:
                state = known.get(change.state.stream_id)
                if state is None:
                    ids.append(change.state.stream_id)
                else:
                    versions[state.stream_id] = state.version
        paths = [change.state.path for change in changes if change.expected is None]
        for column, keys in (("id", ids), ("path", paths)):
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                versions.update(
                    self._connection.execute(
                        f"select {column}, version from streams where {column} in ({marks})", part
                    )
                )
        return versions

    def _write(self, changes: list[Change]) -> None:
        removed = {change.state.stream_id: change.state for change in changes if change.removes}
        for state in removed.values():
            self._remove(state)
        kept = [change for change in changes if change.state.stream_id not in removed]
        self._write_states({change.state.stream_id: change.state for change in kept})
        self._insert(
            f"messages ({records.COLUMNS})", [records.row_of(it) for it in kept if it.records]
        )
        self._write_producers(kept)

    def _write_states(self, states: Mapping[int, StreamState]) -> None:
        moved, others = [], []
        for stream_id, state in states.items():
            row = moved_row(self._known.get(stream_id), state)
            if row is None:
                others.append(row_of_state(state))
            else:
                moved.append(row)
        self._insert(f"streams ({COLUMNS})", others, UPSERT)
        for part in _parts(moved):
            marks = ",".join(["(?,?,?)"] * len(part))
            self._connection.execute(MOVE.format(rows=marks), tuple(chain.from_iterable(part)))

    def _write_producers(self, changes: list[Change]) -> None:
        last: dict[tuple[int, str], ProducerState | None] = {}
        for change in changes:
            stream_id = change.state.stream_id
            last.update({(stream_id, name): None for name in change.forgotten})
            last.update({(stream_id, name): state for name, state in change.producers})
        gone = [key for key, state in last.items() if state is None]
        if gone:
            self._connection.executemany(
                "delete from producers where stream=? and producer=?", gone
            )
        rows: list[tuple[object, ...]] = [
            (*key, state.epoch, state.seq, state.used_at)
            for key, state in last.items()
            if state is not None
        ]
        self._insert(
            "producers",
            rows,
            " on conflict (stream, producer) do update set epoch=excluded.epoch, seq=excluded.seq,"
            " used_at=excluded.used_at",
        )

    def _insert(self, table: str, rows: list[tuple[object, ...]], suffix: str = "") -> None:
        """Insert rows by as few statements as the bound allows.

        A failure rolls the transaction back, so `or fail` spares SQLite the journal with which
        it could undo one statement alone: a third of the cost of a commit.
        """
        for part in _parts(rows):
            row = f"({','.join('?' * len(part[0]))})"
            self._connection.execute(
                f"insert or fail into {table} values {','.join([row] * len(part))}{suffix}",
                tuple(chain.from_iterable(part)),
            )

    def _remove(self, state: StreamState) -> None:
        if self._retired < 0:
            self._retired = self._number("select count(*) from retired")
        connection = self._connection
        connection.execute("delete from streams where id=?", (state.stream_id,))
        connection.execute("insert into doomed values (?)", (state.stream_id,))
        connection.execute("delete from retired where path=?", (state.path,))
        self._retired += 1 - connection.changes()
        connection.execute(
            "insert into retired (path, generation) values (?, ?)", (state.path, state.generation)
        )
        if self._retired > self._max_retired:
            connection.execute(
                "insert into meta select 'generation_floor', generation from retired"
                " where true order by nr limit 1"
                " on conflict (name) do update set value=max(value, excluded.value);"
                "delete from retired where nr=(select min(nr) from retired)"
            )
            self._retired -= 1

    def reclaim(self, spare_pages: int = SPARE_PAGES) -> bool:
        """Free some records of a removed stream, or some pages; True when more remains."""
        connection = self._connection
        row = connection.execute("select stream from doomed limit 1").fetchone()
        if row is None:
            return self._give_back(spare_pages)
        places: list[Any] = connection.execute(
            "select end, length(data) from messages where stream=? order by end limit ?",
            (*row, RECLAIM_ROWS),
        ).fetchall()
        size, last = 0, 0
        for end, length in places:
            size, last = size + length, end
            if size >= RECLAIM_BYTES:
                break
        with connection:
            connection.execute("delete from messages where stream=? and end<=?", (*row, last))
            if size < RECLAIM_BYTES and len(places) < RECLAIM_ROWS:
                connection.execute("delete from producers where stream=?", row)
                connection.execute("delete from doomed where stream=?", row)
        return True

    def _give_back(self, spare_pages: int) -> bool:
        free = self._number("pragma freelist_count")
        if free <= spare_pages:
            return False
        self._connection.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
        return free - VACUUM_PAGES > spare_pages

    def empty_wal(self) -> None:
        """Take all of the WAL into the data file, as far as no reader stands in the way."""
        self._connection.execute("pragma wal_checkpoint(truncate)").fetchall()

    def _number(self, statement: str) -> int:
        for (number,) in self._connection.execute(statement):
            if isinstance(number, int):
                return number
        raise AssertionError(f"no number from {statement!r}")


def _key(change: Change) -> str | int:
    return change.state.path if change.expected is None else change.state.stream_id


def _parts(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    return (rows[at : at + MAX_ROWS] for at in range(0, len(rows), MAX_ROWS))
