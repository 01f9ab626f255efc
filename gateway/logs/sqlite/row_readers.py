"""Reads of the data file on a few threads, each a consistent snapshot.

Streams to load are read together, since many cost little more than one: one read at a time, the
next for all paths that were queued meanwhile.

Deadlines are one column with one index, but of two clocks (`protocol.streams.state`): TTLs count
by the steady clock, and dates by the wall clock.
While these agree, the first rows are those that have expired. Where one clock is ahead, rows that
expire by the other may stand among them in any number. So each search for expired streams looks at
a bounded stretch of the index, and the next search continues after it.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import nlargest
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
from typing_extensions import override

from gateway.errors import LogUnavailable, RecordDamaged, StreamNotFound
from gateway.logs.contract import Listing, ListingPage, LoadedStream, settle
from gateway.logs.sqlite.data_folder import DataFileLost
from gateway.logs.sqlite.recent import is_ahead
from gateway.logs.sqlite.rows import STATE_COLUMNS, ChunkBuilder, state_of
from gateway.logs.sqlite.writer_thread import words
from gateway.protocol.lifecycle import PathState
from gateway.protocol.streams.chunks import Chunk, check_kept, segments_from
from gateway.protocol.streams.state import ProducerState, Segment, StreamState, raised
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.logs.sqlite.data_folder import DataFolder
    from gateway.logs.sqlite.recent import Recent
    from gateway.protocol.streams.state import Change, ClockReading

    Deadline = tuple[float, int]  # a deadline and a stream id, which orders equal deadlines

MAX_LOADS = 500  # paths of one read: far below SQLite's limit of parameters, some 5 ms of a thread
FIRST = (-inf, 0)
# Rows looked at for each wanted stream: a search for 200 takes some 2 ms of a reader thread.
ROWS_FOR_EACH = 5
THREADS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter
SLIDES = "detail->>'$.lifetime.ttl_s' is not null"  # true for a TTL, false for a fixed date
LAST = "\U0010ffff"  # prefix + LAST sorts after every path with this prefix

T = TypeVar("T")


class RowReader:
    """Reads over one connection, in one history; every read is a consistent snapshot."""

    def __init__(self, connection: apsw.Connection, history: int, recent: Recent) -> None:
        self._connection = connection
        self._history = history
        self._recent = recent

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def load(self, paths: Sequence[str]) -> dict[str, LoadedStream | Exception]:
        """Load the stream at each path, its producers, and the generation last removed there.

        There are at most MAX_LOADS paths. A row that cannot be read fails only its path.
        """
        # Before the file is read: a change is in memory, in the file's compacted rows, or in both.
        waiting = {path: self._recent.waiting_changes(path) for path in paths}
        places = f"path in ({','.join('?' * len(paths))})"
        with self._connection:
            rows = self._all(f"select {STATE_COLUMNS} from streams where {places}", paths)
            retired = dict(self._all(f"select path, generation from retired where {places}", paths))
            floor = self._one("select value from meta where name='generation_floor'", ())
            states = {row[1]: self._tried(row) for row in rows}
            ids = [it.stream_id for it in states.values() if isinstance(it, StreamState)]
            producers = self._producers(ids) if ids else {}
        generation = None if floor is None else floor[0]
        found: dict[str, LoadedStream | Exception] = {}
        for path in paths:
            state = states.get(path)
            if isinstance(state, Exception):
                found[path] = state
                continue
            known = {} if state is None else producers.get(state.stream_id, {})
            if state is not None and is_ahead(waiting[path], state):
                state = waiting[path][-1].state
                known.update(chain.from_iterable(it.producers for it in waiting[path]))
            found[path] = LoadedStream(
                PathState(state, retired.get(path, generation), self._history), known
            )
        return found

    def _tried(self, row: tuple[object, ...]) -> StreamState | Exception:
        try:
            return self._state(row)
        except Exception as error:  # noqa: BLE001 - the other rows are sound
            return error

    def _state(self, row: tuple[object, ...]) -> StreamState:
        """Return the state in a row, raised to the present history."""
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
        """Return the records after `start`, checked, up to the first end at or past `end`."""
        waiting = self._recent.waiting_changes(known.path)  # before the file is looked at
        with self._connection:
            row = self._one(f"select {STATE_COLUMNS} from streams where id=?", (known.stream_id,))
            if row is None:
                raise StreamNotFound("the stream was deleted")
            state = self._state(row)
            check_kept(state, start)
            builder = ChunkBuilder(state, start)
            for segment in segments_from(state, start):
                for row in self._rows(segment, builder.position, end):
                    builder.add_row(segment, end, *row)
                if builder.position < min(end, segment.end):
                    raise builder.damage("missing")
                if builder.position >= end:
                    break
        if is_ahead(waiting, state):
            state = waiting[-1].state
            builder.add_changes(waiting, end)
        return Chunk(state, builder.start, builder.position, tuple(builder.records))

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

    def with_deadline(
        self, after: Deadline, until: float, limit: int
    ) -> list[tuple[Deadline, str, bool]]:
        """Return the first streams after `after` whose deadline is not after `until`.

        Each has its deadline and id, its path, and whether the deadline slides (a TTL).
        """
        rows: list[Any] = self._all(
            f"select deadline, id, path, {SLIDES} from streams"
            " where deadline is not null and (deadline, id)>(?, ?) and deadline<=?"
            " order by deadline, id limit ?",
            (*after, until, limit),
        )
        return [((deadline, id_), path, bool(slides)) for deadline, id_, path, slides in rows]

    def to_trim(self, now: ClockReading, limit: int) -> list[str]:
        """Return the paths of the first streams with records that have expired."""
        rows = self._all(
            "select path from streams where trim_at is not null and trim_at<=?"
            " order by trim_at limit ?",
            (now.wall, limit),
        )
        return [path for (path,) in rows]

    def count_expired(self, now: ClockReading) -> int:
        """Return how many streams have a deadline that has passed."""
        ((count,),) = self._all(
            "select count(*) from streams where deadline is not null and deadline<=max(?1, ?2)"
            f" and deadline<=iif({SLIDES}, ?2, ?1)",
            now,
        )
        assert isinstance(count, int), "count(*) is a number"
        return count

    def list_streams(self, prefix: str, after: str, limit: int) -> ListingPage:
        """Return the first streams after a path: one stretch of the index of paths."""
        waiting = self._recent.all_waiting_changes()
        rows = self._stretch(STATE_COLUMNS, prefix, after, limit + 1)
        states = [_latest(self._state(row), waiting) for row in rows]
        return ListingPage(states[:limit], states[limit - 1].path if len(states) > limit else None)

    def paths(self, prefix: str, after: str, limit: int) -> list[str]:
        """Return the first paths after a path: one stretch of their index, without its rows."""
        return [path for (path,) in self._stretch("path", prefix, after, limit)]

    def _stretch(self, columns: str, prefix: str, after: str, limit: int) -> Iterable[Any]:
        lower, compared = (prefix, ">=") if prefix > after else (after, ">")
        return self._connection.execute(
            f"select {columns} from streams where path{compared}? and path<? order by path limit ?",
            (lower, prefix + LAST, limit),
        )

    def largest(self, prefix: str, most: int) -> list[tuple[int, str]]:
        """Return the largest streams; SQLite looks at all, and holds no more than these in memory.

        A scan of all rows in table order takes an eighth of the time of looking them up by path.
        Changes that are not compacted yet only make streams larger.
        """
        waiting = self._recent.all_waiting_changes()
        rows = self._connection.execute(
            "select tail-coalesce(detail->>'first', 0) as size, path from streams not indexed"
            " where path>=? and path<? order by size desc, path desc limit ?",
            (prefix, prefix + LAST, most),
        )
        sizes: dict[str, int] = {path: size for size, path in rows}
        for path, changes in waiting.items():
            if path.startswith(prefix):
                sizes[path] = max(changes[-1].state.size, sizes.get(path, 0))
        return nlargest(most, ((size, path) for path, size in sizes.items()))

    def _one(self, statement: str, values: tuple[object, ...]) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._connection.execute(statement, values).fetchone()
        return row


def _latest(state: StreamState, waiting: Mapping[str, Sequence[Change]]) -> StreamState:
    changes = waiting.get(state.path, ())
    return changes[-1].state if is_ahead(changes, state) else state


class RowReaders(Listing):
    """A few threads that read the data file, each over a connection of its own."""

    def __init__(self, folder: DataFolder, recent: Recent) -> None:
        self._folder = folder
        self._recent = recent
        self._history = 0
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._open: list[RowReader] = []
        self._to_load: list[tuple[str, asyncio.Future[LoadedStream]]] = []
        self._loading: asyncio.Task[None] | None = None
        self._searched: Deadline = FIRST  # up to which the last search for expired streams came

    def start(self, history: int) -> None:
        """Accept reads of the file, whose present history is `history`."""
        self._history = history
        self._threads = ThreadPoolExecutor(THREADS, "headgate-log-read")

    async def stop(self) -> None:
        """Let reads that are under way finish, and close the connections."""
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)
            self._threads = None
        for reader in self._open:
            reader.close()
        self._open.clear()

    async def run(self, read: Callable[[RowReader], T]) -> T:
        """Return what `read` returns on a thread. Raises LogUnavailable, RecordDamaged."""
        assert self._threads is not None, "not open"
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, read)

    def _run(self, read: Callable[[RowReader], T]) -> T:
        """Read over the thread's connection; one that failed to open is opened again next time."""
        reader: RowReader | None = getattr(self._local, "reader", None)
        try:
            if reader is None:
                connection = self._folder.connect(read_only=True)
                self._folder.open_files.look()
                reader = RowReader(connection, self._history, self._recent)
                self._open.append(reader)
                self._local.reader = reader
            return read(reader)
        except RecordDamaged as damage:
            log.error("log.damaged", file=str(self._folder.file), reason=damage.detail)
            raise
        except (apsw.Error, DataFileLost) as error:
            log.error("log.unreadable", file=str(self._folder.file), reason=words(error))
            raise LogUnavailable("the log cannot be read now") from error

    def load(self, path: str) -> asyncio.Future[LoadedStream]:
        """Load the stream at `path` with the next read, which has not begun yet."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[LoadedStream] = loop.create_future()
        self._to_load.append((path, found))
        if self._loading is None:
            self._loading = loop.create_task(self._load_all())
        return found

    async def _load_all(self) -> None:
        try:
            while self._to_load:
                part, self._to_load = self._to_load[:MAX_LOADS], self._to_load[MAX_LOADS:]
                paths = [path for path, _ in part]
                outcomes: Mapping[str, LoadedStream | Exception]
                try:
                    outcomes = await self.run(partial(RowReader.load, paths=paths))
                except Exception as error:  # noqa: BLE001 - raised in every caller
                    outcomes = dict.fromkeys(paths, error)
                for path, found in part:
                    settle(found, outcomes[path])
        finally:
            self._loading = None

    async def expired(self, now: ClockReading, limit: int) -> list[str]:
        """Return paths of expired streams in the next stretch, and of streams to trim."""
        return await self.run(partial(self._expired, now, limit))

    def _expired(self, now: ClockReading, limit: int, reader: RowReader) -> list[str]:
        most = ROWS_FOR_EACH * limit
        rows = reader.with_deadline(self._searched, max(now), most)
        found = [
            path
            for (deadline, _), path, slides in rows
            if deadline <= (now.steady if slides else now.wall)
        ]
        if len(found) < limit:
            self._searched = rows[-1][0] if len(rows) == most else FIRST
            found += reader.to_trim(now, limit - len(found))
        return found[:limit]

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        return await self.run(lambda reader: reader.list_streams(prefix, after, limit))

    @override
    async def paths(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        return await self.run(lambda reader: reader.paths(prefix, after, limit))

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        return await self.run(lambda reader: reader.largest(prefix, most))
