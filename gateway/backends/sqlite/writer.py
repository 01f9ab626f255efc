"""Changes as rows: the statements that write them, few in number for each commit.

Each statement hands the interpreter over and takes it back, which under load costs more than the
statement itself; so a group's rows are written by one statement a table.
"""

from __future__ import annotations

import contextlib
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from gateway.backends.sqlite import recent, records
from gateway.backends.sqlite.recent import compact_all, compacted_rows
from gateway.backends.sqlite.records import row_of
from gateway.backends.sqlite.state_rows import COLUMNS, MOVE, UPSERT, UPSERT_PRODUCER, row_of_state
from gateway.protocol.streams.generations import MICROSECONDS
from gateway.protocol.streams.moments import ClockNote, Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.backends.sqlite.recent import Changes, Recent, RecentStep
    from gateway.protocol.streams.state import Change, ProducerState, StreamState

MAX_ROWS = 500  # rows of one statement; its parameters stay far below SQLite's 32,766
RECLAIM_ROWS = 1000  # freed in one step, together with
RECLAIM_BYTES = 4 * 1024 * 1024  # a few milliseconds of the writer's time
VACUUM_PAGES = 256  # pages given back in one step
SPARE_PAGES = 1024  # free pages worth keeping for the next appends

# Streams whose versions are known, since they were written last: nobody else writes to the file.
# They are those that are appended to again and again, about 150 bytes each.
MAX_KNOWN = 10_000

# How the clocks stand, each in a row of `meta` (microseconds since the epoch, and 0 or 1).
CLOCKS = ("clock_wall", "clock_steady", "clock_in_doubt")
NOTE_EVERY_S = 60.0  # a write a minute costs little, and is what `expiry_grace` is compared with
LEAST_SET_S = 0.5  # below what is told of as a clock that was set

MESSAGES = f"messages ({records.COLUMNS})"

T = TypeVar("T")


class Writer:
    """Writes over one connection, for one thread."""

    def __init__(self, connection: apsw.Connection, max_retired: int, recent: Recent) -> None:
        """Compact what an earlier connection left in the table `recent`."""
        self._connection = connection
        self._max_retired = max_retired
        self._recent = recent
        compact_all(connection)
        recent.clear()
        self._retired = self._number("select count(*) from retired")
        self._known: dict[int, int] = {}  # versions
        self.streams = self._number("select count(*) from streams")
        self.stored: Sequence[Change] = ()  # by the last group
        self.noted = self._read_noted()
        self.written_at = 0.0  # when it was written, and the sync to disk began (monotonic)

    def close(self) -> None:
        """Close the connection; what it cannot take into the file now stays in the WAL."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()

    def finish(self, to_note: ClockNote | None) -> None:
        """Compact `recent` as far as there is room, note the clocks, and close the connection."""
        with contextlib.suppress(apsw.Error):
            compact_all(self._connection)
            if to_note is not None:
                self._write_noted(to_note)
        self.close()

    def last_stream_id(self) -> int:
        """Return the highest stream id in the file."""
        return self._number(
            "select max(coalesce((select max(id) from streams), 0),"
            " coalesce((select max(stream) from doomed), 0))"
        )

    def history(self) -> int:
        """Return the number of the file's present history; 0 before any change was lost."""
        return self._number("select coalesce((select value from meta where name='history'), 0)")

    def _read_noted(self) -> ClockNote | None:
        names = ",".join("?" * len(CLOCKS))
        rows: list[Any] = self._connection.execute(
            f"select name, value from meta where name in ({names})", CLOCKS
        ).fetchall()
        values = dict(rows)
        if len(values) < len(CLOCKS):
            return None
        wall, steady, doubt = (values[name] for name in CLOCKS)
        return ClockNote(Moment(wall / MICROSECONDS, steady / MICROSECONDS), bool(doubt))

    def note(self, to_note: ClockNote | None) -> None:
        """Note the clocks, unless the last note is still good."""
        if to_note is not None and (self.noted is None or _is_news(self.noted, to_note)):
            self._write_noted(to_note)

    def _write_noted(self, noted: ClockNote) -> None:
        (wall, steady), doubt = noted
        values = (int(wall * MICROSECONDS), int(steady * MICROSECONDS), int(doubt))
        row = "(?, ?)"
        self._connection.execute(
            f"insert into meta values {','.join([row] * len(CLOCKS))}"
            " on conflict (name) do update set value=excluded.value",
            tuple(chain.from_iterable(zip(CLOCKS, values, strict=True))),
        )
        self.noted = noted

    def prove(self) -> None:
        """Commit a row of Headgate's own, which shows that the file takes writes again."""
        self._connection.execute(
            "begin immediate; insert into meta values ('recoveries', 1)"
            " on conflict (name) do update set value=value+1; commit"
        )

    def commit(self, commits: Sequence[Sequence[Change]]) -> list[bool]:
        """Write a group in one transaction; return for each commit whether its versions matched."""
        connection = self._connection
        connection.execute("begin immediate")
        try:
            stood, changes = self._compare(commits)
            step = self._write(changes)
            self.written_at = time.monotonic()
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            self._retired = -1
            self._known.clear()
            raise
        self._note(changes)
        self._recent.note(step)
        self.stored = changes
        self.streams += sum((it.expected is None) - it.removes for it in changes)
        return stood

    def _note(self, changes: Sequence[Change]) -> None:
        """Know the versions as they are now."""
        known = self._known
        for change in changes:
            known.pop(change.state.stream_id, None)
            if not change.removes:
                known[change.state.stream_id] = change.state.version
        for stream_id in list(islice(known, max(0, len(known) - MAX_KNOWN))):
            del known[stream_id]

    def _compare(self, commits: Sequence[Sequence[Change]]) -> tuple[list[bool], list[Change]]:
        versions = self._versions(list(chain.from_iterable(commits)))
        stood: list[bool] = []
        changes: list[Change] = []
        for commit in commits:
            for change in commit:
                if versions.get(_key(change)) != change.expected:
                    stood.append(False)
                    break
            else:
                stood.append(True)
                changes.extend(commit)
                for change in commit:
                    version = None if change.removes else change.state.version
                    versions[change.state.path] = versions[change.state.stream_id] = version
        return stood, changes

    def _versions(self, changes: list[Change]) -> dict[str | int, int | None]:
        """Return the present versions, by id for changes and by path for creations."""
        versions: dict[str | int, int | None] = {}
        known, ids = self._known, []
        for change in changes:
            if change.expected is not None:
                stream_id = change.state.stream_id
                version = known.get(stream_id)
                if version is None:
                    version = self._recent.version(change.state)
                if version is None:
                    ids.append(stream_id)
                else:
                    versions[stream_id] = version
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

    def _write(self, changes: list[Change]) -> RecentStep:
        """Write what short appends add to `recent`, and all else at its stream's place."""
        removed = {change.state.stream_id: change.state for change in changes if change.removes}
        for state in removed.values():
            self._remove(state)
        kept = [change for change in changes if change.state.stream_id not in removed]
        apart = {change.state.stream_id for change in kept if not self._is_short(change)}
        others = [change for change in kept if change.state.stream_id in apart]
        step = self._recent.step(
            [change for change in kept if change.state.stream_id not in apart],
            {change.state.path for change in others},
            {state.path for state in removed.values()},
        )
        if step.compacted:
            self._file(step.compacted)
        if others:
            self._write_at_place(others)
        self._insert(f"recent ({recent.COLUMNS})", self._recent.rows_of(step.added))
        if step.deleted_up_to is not None:
            self._connection.execute("delete from recent where nr<=?", (step.deleted_up_to,))
        return step

    def _write_at_place(self, changes: list[Change]) -> None:
        self._write_states(changes)
        rows = [row_of(it.state.stream_id, it.records) for it in changes if it.records]
        self._insert(MESSAGES, rows)
        self._write_producers(changes)

    def _is_short(self, change: Change) -> bool:
        """Return whether a change is short enough to wait in the table `recent`."""
        return change.grown <= recent.LONGEST and not change.forgotten and self._grows_alone(change)

    def _grows_alone(self, change: Change) -> bool:
        """Return whether the stream's row has all of its state but version and tail.

        A state that was read is raised to the present history, which the row may not have yet.
        """
        return change.grown > 0 and (
            not change.state.history or change.state.stream_id in self._known
        )

    def _write_states(self, changes: Sequence[Change]) -> None:
        states = {change.state.stream_id: change.state for change in changes}
        whole = {it.state.stream_id for it in changes if not self._grows_alone(it)}
        rows = [row_of_state(state) for stream_id, state in states.items() if stream_id in whole]
        self._insert(f"streams ({COLUMNS})", rows, UPSERT)
        self._move([state for stream_id, state in states.items() if stream_id not in whole])

    def _move(self, states: Sequence[StreamState]) -> None:
        """Write version and tail alone, which takes half the time."""
        for part in _parts([(state.stream_id, state.version, state.tail) for state in states]):
            marks = ",".join(["(?,?,?)"] * len(part))
            self._connection.execute(MOVE.format(rows=marks), tuple(chain.from_iterable(part)))

    def _file(self, streams: Sequence[Changes]) -> None:
        """Write at its stream's place what was in `recent` alone."""
        self._insert(MESSAGES, list(chain.from_iterable(map(compacted_rows, streams))))
        self._move([changes[-1].state for changes in streams])
        self._write_producers(list(chain.from_iterable(streams)))

    def _write_producers(self, changes: list[Change]) -> None:
        last: dict[tuple[int, str], ProducerState | None] = {}
        for change in changes:
            if change.producers or change.forgotten:
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
        self._insert("producers", rows, UPSERT_PRODUCER)

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


def _is_news(noted: ClockNote, later: ClockNote) -> bool:
    """Return whether the last note is wrong, or so old that it would look like a stop.

    While nobody sets the wall clock, the last note stays right: both clocks move alike.
    """
    before, now = noted.moment, later.moment
    was_set = abs((now.wall - now.steady) - (before.wall - before.steady)) >= LEAST_SET_S
    is_old = not 0 <= now.steady - before.steady < NOTE_EVERY_S
    return was_set or is_old or noted.in_doubt != later.in_doubt


def _key(change: Change) -> str | int:
    return change.state.path if change.expected is None else change.state.stream_id


def _parts(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    return (rows[at : at + MAX_ROWS] for at in range(0, len(rows), MAX_ROWS))
