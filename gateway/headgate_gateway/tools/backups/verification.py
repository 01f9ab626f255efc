"""The verification of a data file, which reports everything that a server could not serve.

Records have checksums, and follow each other without a gap. A server may write meanwhile: records
are read in many short snapshots, so that SQLite can checkpoint the WAL in between.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import msgspec

from headgate_gateway.features.subscriptions.delivery.documents import checksum as document_checksum
from headgate_gateway.logs.sqlite.recovery import frames_taken, lost_frames
from headgate_gateway.logs.sqlite.rows import STATE_COLUMNS, checksum, is_row_sound, state_of
from headgate_gateway.protocol.streams.state import raised
from headgate_gateway.tools.backups.source import SourceFile, unused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headgate_gateway.protocol.streams.state import StreamState

    Row = tuple[int, int, bytes | None, bytes]  # end, crc, sizes, data

# Raised for a row of a stream that SQLite can read, but whose columns cannot be decoded.
UNREADABLE = (msgspec.MsgspecError, TypeError, ValueError)
PATHS = 500  # of one read
# Bytes of records in one snapshot: some 20 ms, in which a WAL grows by less than a megabyte.
SNAPSHOT_BYTES = 8 * 1024 * 1024
MOST_OF_FILE = 100  # damages in the structure of the file; one page may show up in many
STEPS = 100_000  # of SQLite between two calls of `on_progress`, a few milliseconds


class DamageReport(NamedTuple):
    """A damage of a stream from an offset on; without a path, a damage of the whole file."""

    problem: str
    path: str = ""
    offset: str = ""


def wal_damages(source: SourceFile) -> Iterator[DamageReport]:
    """Judge the WAL of a file as the next start would, unless a server is writing it."""
    file = source.file
    log = file.with_name(f"{file.name}-wal")
    with unused(file.parent) as is_unused:
        if not is_unused or not log.exists():
            return
        # SQLite looks at the WAL with the first read, and knows of no frames before.
        source.connection.execute("select count(*) from sqlite_schema").fetchall()
        page_size = source.connection.pragma("page_size")
        lost = lost_frames(log, frames_taken(source.connection), page_size)
    if lost.are_of_several:
        yield DamageReport(
            f"{log.name} is damaged: {lost.frames} frames in it, which may have been"
            " acknowledged, cannot be read"
        )


class FileVerification:
    """A verification of a data file, and the counts of what it has looked at so far."""

    def __init__(self, source: SourceFile, on_progress: Callable[[], object]) -> None:
        self._source = source
        self._connection = source.connection
        self._on_progress = on_progress
        self._history = 0
        self.streams = 0
        self.bytes = 0  # of records
        self.damages = 0

    def run(self) -> Iterator[DamageReport]:
        """Yield what is damaged, as it is found."""
        for damage in self._parts():
            self.damages += 1
            yield damage

    def _parts(self) -> Iterator[DamageReport]:
        try:
            for (history,) in self._all("select value from meta where name='history'"):
                self._history = history
        except (apsw.Error, *UNREADABLE) as error:
            yield DamageReport(f"the file cannot be read: {error}")
            return
        yield from wal_damages(self._source)
        yield from self._streams()
        yield from self._recent()
        yield from self._documents()
        yield from self._structure()

    def _documents(self) -> Iterator[DamageReport]:
        """Compare the checksums of documents, such as subscriptions and their cursors."""
        after = ""
        try:
            while rows := self._all(
                "select name, crc, body from documents where name>? order by name limit ?",
                after,
                PATHS,
            ):
                for name, crc, body in rows:
                    after = name
                    if document_checksum(name, body) != crc:
                        yield DamageReport(f"the document {name} does not match its checksum")
        except (apsw.Error, *UNREADABLE) as error:
            yield DamageReport(f"the table of documents cannot be read: {error}")

    # ---- streams and their records

    def _streams(self) -> Iterator[DamageReport]:
        """Check each stream, in the order of paths; where that index is damaged, of ids."""
        after = ""
        try:
            while rows := self._all(
                "select path, id from streams where path>? order by path limit ?", after, PATHS
            ):
                for path, stream_id in rows:
                    yield from self._stream(path, stream_id)
                    after = path
        except (apsw.Error, *UNREADABLE) as error:
            yield DamageReport(f"the index of streams is damaged after {after!r}: {error}")
            yield from self._streams_by_id(after)

    def _streams_by_id(self, after: str) -> Iterator[DamageReport]:
        last = -1
        try:
            while rows := self._all(
                "select path, id from streams not indexed where id>? and path>? order by id limit"
                " ?",
                last,
                after,
                PATHS,
            ):
                for path, stream_id in rows:
                    yield from self._stream(path, stream_id)
                    last = stream_id
        except (apsw.Error, *UNREADABLE) as error:
            yield DamageReport(f"the table of streams is damaged after stream {last}: {error}")

    def _stream(self, path: str, stream_id: int) -> Iterator[DamageReport]:
        self.streams += 1
        check = _StreamCheck(path)
        while not check.is_over:
            self._on_progress()
            try:
                with self._connection:
                    row = self._row(stream_id)
                    if row is None:  # it was removed meanwhile
                        return
                    state = self._state_of(row)
                    if not check.has_begun:
                        self._references(check, state)
                        if not is_row_sound(row):
                            check.add(state, 0, "the stream's state does not match its checksum")
                    self._step(check, state)
            except apsw.Error as error:
                check.end(f"what follows cannot be read: {error}")
            except UNREADABLE as error:
                check.end(f"the state of the stream is damaged: {error}")
            # Outside of the snapshot: the caller may wait while it prints damages to a full pipe.
            yield from check.found()

    def _row(self, stream_id: int) -> tuple[Any, ...] | None:
        rows = self._all(f"select {STATE_COLUMNS} from streams where id=?", stream_id)
        return rows[0] if rows else None

    def _state_of(self, row: tuple[Any, ...]) -> StreamState:
        """Return the state in a row, raised to the present history as for readers."""
        state = state_of(row)
        return raised(state, self._history) if self._history else state

    def _step(self, check: _StreamCheck, state: StreamState) -> None:
        rows: Any = self._connection.cursor()
        try:
            rows.execute(
                "select end, crc, sizes, data from messages where stream=? and end>? order by end",
                (state.stream_id, check.position_in(state)),
            )
            self.bytes += check.step(state, rows)
        finally:
            rows.close(force=True)  # else the snapshot would go on with it

    def _references(self, check: _StreamCheck, state: StreamState) -> None:
        """Check what a stream needs besides its own records: its producers and its sources."""
        for _, epoch, seq in self._all(
            "select producer, epoch, seq from producers where stream=?", state.stream_id
        ):
            if epoch < 0 or seq < 0:
                check.add(state, 0, "a producer's epoch or sequence is damaged")
        for segment in state.lineage:
            tails = self._all("select tail from streams where id=?", segment.stream_id)
            if not tails or tails[0][0] < segment.end:
                check.add(state, 0, f"its source {segment.path} has not all of its first records")

    def _recent(self) -> Iterator[DamageReport]:
        """Check the short appends that are not at their streams' places yet, in one snapshot."""
        # At most one for each row, of which there are few.
        positions: dict[int, tuple[StreamState | None, int]] = {}
        damages: list[DamageReport] = []
        try:
            with self._connection:
                for nr, stream_id, *row in self._connection.execute(
                    "select nr, recent.stream, recent.end, recent.crc, recent.sizes, recent.data"
                    " from recent join streams on streams.id=recent.stream"
                    " where recent.version>streams.version order by nr"
                ):
                    self._on_progress()
                    state, position = positions.get(stream_id) or self._first_recent(stream_id)
                    end, crc, sizes, data = row
                    positions[stream_id] = (state, end)
                    self.bytes += len(data)
                    problem = ""
                    if end - len(data) != position:
                        problem = "a recent record is missing"
                    elif not _is_sound(stream_id, end, crc, sizes, data):
                        problem = f"a recent record (row {nr}) does not match its checksum"
                    if problem and state is not None:
                        damages.append(DamageReport(problem, state.path, state.offset(position)))
        except (apsw.Error, *UNREADABLE) as error:
            damages.append(DamageReport(f"the table of recent appends cannot be read: {error}"))
        yield from damages

    def _first_recent(self, stream_id: int) -> tuple[StreamState | None, int]:
        """Return a stream, and where its first recent record begins."""
        try:
            row = self._row(stream_id)
            state = None if row is None else self._state_of(row)
        except UNREADABLE:  # the check of the stream has named it
            state = None
        return state, state.tail if state is not None else 0

    def _structure(self) -> Iterator[DamageReport]:
        """Have SQLite check its pages and indexes; some damages may have been reported before."""
        damages: list[DamageReport] = []  # at most MOST_OF_FILE
        self._connection.set_progress_handler(self._continue, STEPS)
        try:
            for (verdict,) in self._connection.execute(f"pragma integrity_check({MOST_OF_FILE})"):
                if verdict != "ok":
                    problem = str(verdict).removeprefix("*** in database main ***\n")
                    damages.append(DamageReport(problem))
        except (apsw.Error, *UNREADABLE) as error:
            damages.append(DamageReport(f"the structure of the file cannot be checked: {error}"))
        finally:
            self._connection.set_progress_handler(None)
        yield from damages

    def _continue(self) -> bool:
        self._on_progress()
        return False

    def _all(self, statement: str, *values: object) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()


class _StreamCheck:
    """The check of one stream's own records, in steps of one snapshot each."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._state: StreamState | None = None
        self._position = 0  # up to which the records are checked
        self.has_begun = False
        self.is_over = False
        self._damages: list[DamageReport] = []  # of the last step

    def found(self) -> list[DamageReport]:
        """Return the damages since the last call."""
        found, self._damages = self._damages, []
        return found

    def position_in(self, state: StreamState) -> int:
        """Return where the next records begin: retention may have moved it since the last step."""
        own = state.lineage[-1].end if state.lineage else 0
        return max(self._position, own, state.first)

    def step(self, state: StreamState, rows: Iterable[Row]) -> int:
        """Check some rows of a snapshot; return the bytes of their records."""
        position, begins = self.position_in(state), True
        self._state, self.has_begun = state, True
        seen = 0
        for end, crc, sizes, data in rows:
            at = end - len(data)
            if end > state.tail:
                self.add(state, state.tail, "there are records after its tail")
                break
            # The first row may begin before the first record that is kept, or hold records that
            # were in several rows at the last step.
            if at > position or (at < position and not begins):
                self.add(state, position, "a record is missing")
            elif not _is_sound(state.stream_id, end, crc, sizes, data):
                self.add(state, position, "a record does not match its checksum")
            position, begins, seen = end, False, seen + len(data)
            self._position = position
            if seen >= SNAPSHOT_BYTES:
                return seen
        if position < state.tail:
            self.add(state, position, "a record is missing")
        self.is_over = True
        return seen

    def add(self, state: StreamState, position: int, problem: str) -> None:
        """Note a damage from a position on."""
        self._damages.append(DamageReport(problem, self._path, state.offset(position)))

    def end(self, problem: str) -> None:
        """Note that nothing more of the stream can be read."""
        offset = "" if self._state is None else self._state.offset(self._position)
        self._damages.append(DamageReport(problem, self._path, offset))
        self.is_over = True


def _is_sound(stream_id: int, end: int, crc: int, sizes: bytes | None, data: bytes) -> bool:
    """Return whether a row matches its checksum, and its sizes what they divide."""
    if checksum(stream_id, end, sizes, data) != crc:
        return False
    return sizes is None or sum(struct.unpack(f">{len(sizes) // 4}I", sizes)) == len(data)
