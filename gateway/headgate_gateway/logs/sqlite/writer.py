"""Groups of commits, each in one transaction: versions are compared, then rows are written."""

from __future__ import annotations

import contextlib
import sys
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import apsw

from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.sqlite import place_rows, recent
from headgate_gateway.logs.sqlite.place_rows import number, parts
from headgate_gateway.logs.sqlite.recent import compact_all
from headgate_gateway.protocol.streams.state import MICROSECONDS, ClockReading, ClockRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.errors import LogFull
    from headgate_gateway.logs.counts import Quota
    from headgate_gateway.logs.sqlite.place_rows import Tails
    from headgate_gateway.logs.sqlite.recent import Recent, RecentStep
    from headgate_gateway.protocol.streams.state import Change

# Most streams whose versions are cached, about 150 bytes each: those that were written last. The
# cache cannot be stale, as no other process writes to the file.
MAX_KNOWN = 10_000

# How the clocks stand, each in a row of `meta` (microseconds since the epoch, and 0 or 1).
CLOCKS = ("clock_wall", "clock_steady", "clock_in_doubt")
NOTE_EVERY_S = 60.0  # a write a minute costs little, and jumps of the clock are seen by it
LEAST_SET_S = 0.5  # a smaller step of a clock is not reported as one that was set


class Writer:
    """Writes over one connection, for one thread."""

    def __init__(
        self, connection: apsw.Connection, max_retired: int, recent: Recent, quota: Quota
    ) -> None:
        """Compact what an earlier connection left in the table `recent`."""
        self.connection = connection  # for steps of the writer thread
        self._recent = recent
        self._quota = quota
        compact_all(connection)
        recent.clear()
        self._max_retired = max_retired
        self._tails: Tails = {}
        self.noted = noted_clocks(connection)
        self._known: dict[int, int] = {}  # cached versions by stream id
        self.streams = number(connection, "select count(*) from streams")
        self.last_stream_id = number(
            connection,
            "select max(coalesce((select max(id) from streams), 0),"
            " coalesce((select max(stream) from trimmed), 0))",
        )
        # The number of the file's present history; 0 before any change was lost.
        self.history = number(
            connection, "select coalesce((select value from meta where name='history'), 0)"
        )
        self.stored: Sequence[Change] = ()  # by the last group
        self.written_at = 0.0  # when it was written, and the sync to disk began (monotonic)
        self.count_used()

    def close(self) -> None:
        """Close the connection; frames that cannot be copied into the file now stay in the WAL."""
        with contextlib.suppress(apsw.Error):
            self.connection.close()

    def finish(self, to_note: ClockRecord | None) -> None:
        """Compact `recent` as far as there is room, note the clocks, and close the connection."""
        with contextlib.suppress(apsw.Error):
            compact_all(self.connection)
            if to_note is not None:
                note_clocks(self.connection, to_note)
        self.close()

    def prove(self) -> None:
        """Commit a row of Headgate's own, which shows that the file takes writes again."""
        self.connection.execute(
            "begin immediate; insert into meta values ('recoveries', 1)"
            " on conflict (name) do update set value=value+1; commit"
        )

    def counts(self) -> dict[str, float]:
        """Return the number of streams, and what of the data file holds nothing."""
        self.count_used()
        return {"unused_bytes": unused_bytes(self.connection), "streams": self.streams}

    def count_used(self) -> None:
        """Measure the pages in use for the quota, if there is one."""
        if self._quota.max_bytes:
            self._quota.used = file_bytes(self.connection) - unused_bytes(self.connection)

    def note_clocks(self, clocks: ClockRecord | None) -> None:
        """Note the clocks, unless the last note is still good."""
        if clocks is not None and (self.noted is None or _is_news(self.noted, clocks)):
            note_clocks(self.connection, clocks)
            self.noted = clocks

    def commit(self, commits: Sequence[Sequence[Change]]) -> list[Conflict | LogFull | None]:
        """Write a group in one transaction; return for each commit why it was refused, or None."""
        connection = self.connection
        connection.execute("begin immediate")
        try:
            outcomes, changes = self._compare(commits)
            step = self._write(changes)
            self.count_used()
            self.written_at = time.monotonic()
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            self._tails.clear()
            self._known.clear()
            raise
        self._recent.note(step)
        self.stored = changes
        self.streams += sum((it.expected is None) - it.removes for it in changes)
        known = self._known
        for change in changes:
            known.pop(change.state.stream_id, None)
            if not change.removes:
                known[change.state.stream_id] = change.state.version
        for stream_id in list(islice(known, max(0, len(known) - MAX_KNOWN))):
            del known[stream_id]
        return outcomes

    def _compare(
        self, commits: Sequence[Sequence[Change]]
    ) -> tuple[list[Conflict | LogFull | None], list[Change]]:
        """Return why each commit is refused, or None, and the changes of the others."""
        versions = self._versions(list(chain.from_iterable(commits)))
        outcomes: list[Conflict | LogFull | None] = []
        changes: list[Change] = []
        for commit in commits:
            outcome: Conflict | LogFull | None = None
            for change in commit:
                state = change.state
                key = state.path if change.expected is None else state.stream_id
                if versions.get(key) != change.expected:
                    outcome = Conflict()
                    break
            else:
                outcome = self._quota.refusal(commit)
            outcomes.append(outcome)
            if outcome is None:
                changes.extend(commit)
                for change in commit:
                    version = None if change.removes else change.state.version
                    versions[change.state.path] = versions[change.state.stream_id] = version
        return outcomes, changes

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
            for part in parts(keys):
                marks = ",".join("?" * len(part))
                versions.update(
                    self.connection.execute(
                        f"select {column}, version from streams where {column} in ({marks})", part
                    )
                )
        return versions

    def _write(self, changes: list[Change]) -> RecentStep:
        """Write short appends to the table `recent`, and other changes at their streams' places."""
        removed = {change.state.stream_id: change.state for change in changes if change.removes}
        for state in removed.values():
            place_rows.remove(self.connection, state, self._max_retired)
        kept = [change for change in changes if change.state.stream_id not in removed]
        # Of one stream, either all changes wait or none.
        at_place = {change.state.stream_id for change in kept if not self._is_short(change)}
        others = [change for change in kept if change.state.stream_id in at_place]
        step = self._recent.step(
            [change for change in kept if change.state.stream_id not in at_place],
            {change.state.path for change in others},
            {state.path for state in removed.values()},
        )
        if step.compacted:
            place_rows.compact(self.connection, step.compacted)
        if others:
            whole = {it.state.stream_id for it in others if not self._grows_alone(it)}
            place_rows.write(self.connection, others, whole, self._tails)
        place_rows.insert(
            self.connection, f"recent ({recent.COLUMNS})", self._recent.rows_of(step.added)
        )
        if step.deleted_up_to:
            self.connection.execute("delete from recent where nr<=?", (step.deleted_up_to,))
        return step

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

    def file_bytes(self) -> int:
        """Return the bytes of the data file with the WAL copied into it; sys.maxsize on errors."""
        try:
            return file_bytes(self.connection)
        except apsw.Error:
            return sys.maxsize

    def copy_wal(self) -> None:
        """Copy the WAL into the data file, as far as can be done without a wait for readers."""
        self.connection.execute("pragma wal_checkpoint(passive)").fetchall()

    def empty_wal(self) -> None:
        """Copy the WAL into the data file, as far as readers allow, and truncate it."""
        self.connection.execute("pragma wal_checkpoint(truncate)").fetchall()


def noted_clocks(connection: apsw.Connection) -> ClockRecord | None:
    """Return the note of the clocks; None in a file without one."""
    rows: list[Any] = connection.execute(
        "select name, value from meta where name in (?, ?, ?)", CLOCKS
    ).fetchall()
    values = dict(rows)
    if len(values) < len(CLOCKS):
        return None
    wall, steady, doubt = (values[name] for name in CLOCKS)
    return ClockRecord(ClockReading(wall / MICROSECONDS, steady / MICROSECONDS), bool(doubt))


def note_clocks(connection: apsw.Connection, clocks: ClockRecord) -> None:
    """Replace the note of the clocks."""
    (wall, steady), doubt = clocks
    values = (int(wall * MICROSECONDS), int(steady * MICROSECONDS), int(doubt))
    connection.execute(
        "insert into meta values (?, ?), (?, ?), (?, ?)"
        " on conflict (name) do update set value=excluded.value",
        tuple(chain.from_iterable(zip(CLOCKS, values, strict=True))),
    )


def _is_news(noted: ClockRecord, later: ClockRecord) -> bool:
    """Return whether the last note is wrong, or so old that it would look like a stop.

    While nobody sets the wall clock, the last note stays right: both clocks move alike.
    """
    before, now = noted.moment, later.moment
    was_set = abs((now.wall - now.steady) - (before.wall - before.steady)) >= LEAST_SET_S
    is_old = not 0 <= now.steady - before.steady < NOTE_EVERY_S
    return was_set or is_old or noted.in_doubt != later.in_doubt


def file_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file when all of the WAL is in it."""
    return number(connection, "pragma page_count") * number(connection, "pragma page_size")


def unused_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file's free pages."""
    return number(connection, "pragma freelist_count") * number(connection, "pragma page_size")
