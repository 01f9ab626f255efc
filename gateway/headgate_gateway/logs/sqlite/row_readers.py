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

from headgate_gateway.background import at_once, settle
from headgate_gateway.errors import LogUnavailable, RecordDamaged, StreamNotFound
from headgate_gateway.logs.contract import LAST, Listing, ListingPage, LoadedStream
from headgate_gateway.logs.searches import PATHS_AT_ONCE, compare, search_in_order
from headgate_gateway.logs.sqlite.data_folder import DataFileLost
from headgate_gateway.logs.sqlite.place_rows import number
from headgate_gateway.logs.sqlite.recent import is_ahead
from headgate_gateway.logs.sqlite.rows import STATE_COLUMNS, ChunkBuilder, state_of
from headgate_gateway.logs.sqlite.writer_thread import words
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.chunks import Chunk, check_retained, segments_from
from headgate_gateway.protocol.streams.state import ProducerState, StreamState, raised
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.logs.searches import FoundPaths, PathTest
    from headgate_gateway.logs.sqlite.data_folder import DataFolder
    from headgate_gateway.logs.sqlite.recent import Recent
    from headgate_gateway.protocol.streams.state import ClockReading

    Deadline = tuple[float, int]  # a deadline and a stream id, which orders equal deadlines

MAX_LOADS = 500  # paths of one read: far below SQLite's limit of parameters, some 5 ms of a thread
FIRST = (-inf, 0)
# Rows looked at for each wanted stream: a search for 200 takes some 2 ms of a reader thread.
ROWS_FOR_EACH = 5
THREADS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter
SLIDES = "detail->>'$.lifetime.ttl_s' is not null"  # true for a TTL, false for a fixed date

T = TypeVar("T")


class RowReaders(Listing):
    """A few threads that read the data file, each over a connection of its own."""

    def __init__(self, folder: DataFolder, recent: Recent) -> None:
        self._folder = folder
        self._recent = recent
        self._history = 0
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._open: list[apsw.Connection] = []
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
        for connection in self._open:
            connection.close()
        self._open.clear()

    async def _run(self, read: Callable[..., T], *args: object) -> T:
        """Return what `read` returns on a thread, called with a connection and these arguments.

        Raises LogUnavailable, RecordDamaged.
        """
        assert self._threads is not None, "not open"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run_on_thread, read, args)

    def _run_on_thread(self, read: Callable[..., T], args: tuple[object, ...]) -> T:
        """Read over the thread's connection; one that failed to open is opened again next time."""
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._folder.connect(read_only=True)
                self._folder.open_files.look()
                self._open.append(connection)
                self._local.connection = connection
            return read(connection, *args)
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
                    outcomes = await self._run(self._load, paths)
                except Exception as error:  # noqa: BLE001 - raised in every caller
                    outcomes = dict.fromkeys(paths, error)
                for path, found in part:
                    settle(found, outcomes[path])
        finally:
            self._loading = None

    def _load(
        self, connection: apsw.Connection, paths: Sequence[str]
    ) -> dict[str, LoadedStream | Exception]:
        """Load the stream at each path, its producers, and the generation last removed there.

        There are at most MAX_LOADS paths. A row that cannot be read fails only its path.
        """
        # Before the file is read: a change is in memory, in the file's compacted rows, or in both.
        waiting = {path: self._recent.waiting_changes(path) for path in paths}
        places = f"path in ({','.join('?' * len(paths))})"
        states: dict[str, StreamState | Exception] = {}
        with connection:
            for row in connection.execute(
                f"select {STATE_COLUMNS} from streams where {places}", paths
            ):
                try:
                    states[row[1]] = self._state(row)
                except Exception as error:  # noqa: BLE001 - the other rows are sound
                    states[row[1]] = error
            retired = dict(
                connection.execute(f"select path, generation from retired where {places}", paths)
            )
            floor = connection.execute("select value from meta where name='generation_floor'")
            generation = next((value for (value,) in floor), None)
            ids = [it.stream_id for it in states.values() if isinstance(it, StreamState)]
            producers = _producers(connection, ids) if ids else {}
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
            path_state = PathState(state, retired.get(path, generation), self._history)
            found[path] = LoadedStream(path_state, known)
        return found

    def _state(self, row: tuple[object, ...]) -> StreamState:
        """Return the state in a row, raised to the present history."""
        state = state_of(row)
        return raised(state, self._history) if self._history else state

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """Return the records after `start`, checked, up to the first end at or past `end`."""
        return await self._run(self._read, state, start, end)

    def _read(self, connection: apsw.Connection, known: StreamState, start: int, end: int) -> Chunk:
        waiting = self._recent.waiting_changes(known.path)  # before the file is looked at
        with connection:
            row = connection.execute(
                f"select {STATE_COLUMNS} from streams where id=?", (known.stream_id,)
            ).fetchone()
            if row is None:
                raise StreamNotFound("the stream was deleted")
            state = self._state(row)
            check_retained(state, start)
            builder = ChunkBuilder(state, start)
            for segment in segments_from(state, start):
                last = min(end, segment.end)
                rows: list[Any] = connection.execute(
                    "select end, crc, sizes, data from messages where stream=?1 and end>?2 and"
                    " end<=(select min(end) from messages where stream=?1 and end>=?3)"
                    " order by end",
                    (segment.stream_id, builder.position, last),
                ).fetchall()
                for row in rows:
                    builder.add_row(segment, end, *row)
                if builder.position < last:
                    raise builder.damage("missing")
                if builder.position >= end:
                    break
        if is_ahead(waiting, state):
            state = waiting[-1].state
            builder.add_changes(waiting, end)
        return Chunk(state, builder.start, builder.position, tuple(builder.records))

    async def expired(self, now: ClockReading, limit: int) -> list[str]:
        """Return paths of expired streams in the next stretch, and of streams to trim."""
        return await self._run(self._expired, now, limit)

    def _expired(self, connection: apsw.Connection, now: ClockReading, limit: int) -> list[str]:
        most = ROWS_FOR_EACH * limit
        rows: list[Any] = connection.execute(
            f"select deadline, id, path, {SLIDES} from streams"
            " where deadline is not null and (deadline, id)>(?, ?) and deadline<=?"
            " order by deadline, id limit ?",
            (*self._searched, max(now), most),
        ).fetchall()
        found = [
            path
            for deadline, _, path, slides in rows
            if deadline <= (now.steady if slides else now.wall)
        ]
        if len(found) < limit:
            self._searched = rows[-1][:2] if len(rows) == most else FIRST
            to_trim: Any = connection.execute(
                "select path from streams where trim_at is not null and trim_at<=?"
                " order by trim_at limit ?",
                (now.wall, limit - len(found)),
            )
            found += [path for (path,) in to_trim]
        return found[:limit]

    async def count_expired(self, now: ClockReading) -> int:
        """Return how many streams have a deadline that has passed."""
        return await self._run(
            number,
            "select count(*) from streams where deadline is not null and deadline<=max(?1, ?2)"
            f" and deadline<=iif({SLIDES}, ?2, ?1)",
            now,
        )

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        return await self._run(self._page, prefix, after, limit)

    def _page(
        self, connection: apsw.Connection, prefix: str, after: str, limit: int
    ) -> ListingPage:
        waiting = self._recent.all_waiting_changes()
        states = []
        for row in _stretch(connection, STATE_COLUMNS, prefix, after, limit + 1):
            state = self._state(row)
            changes = waiting.get(state.path, ())
            states.append(changes[-1].state if is_ahead(changes, state) else state)
        return ListingPage(states[:limit], states[limit - 1].path if len(states) > limit else None)

    @override
    async def search(self, prefix: str, after: str, fits: PathTest, limit: int) -> FoundPaths:
        # A slice at a time, so that other reads have their turns on the threads.
        part = partial(self._run, _compare_next, prefix, fits)
        return await search_in_order(part, after, limit)

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        return await self._run(self._largest, prefix, most)

    def _largest(
        self, connection: apsw.Connection, prefix: str, most: int
    ) -> list[tuple[int, str]]:
        """Return the largest streams; SQLite looks at all, and holds no more than these in memory.

        A scan of all rows in table order takes an eighth of the time of looking them up by path.
        Changes that are not compacted yet only make streams larger.
        """
        waiting = self._recent.all_waiting_changes()
        rows: Any = connection.execute(
            "select path, tail-coalesce(detail->>'first', 0) as size from streams not indexed"
            " where path>=? and path<? order by size desc, path desc limit ?",
            (prefix, prefix + LAST, most),
        )
        sizes: dict[str, int] = dict(rows)
        for path, changes in waiting.items():
            if path.startswith(prefix):
                sizes[path] = max(changes[-1].state.size, sizes.get(path, 0))
        return nlargest(most, ((size, path) for path, size in sizes.items()))


def _producers(
    connection: apsw.Connection, stream_ids: Sequence[int]
) -> dict[int, dict[str, ProducerState]]:
    """Return the producers of each stream by their names."""
    found: dict[int, dict[str, ProducerState]] = {}
    rows: Any = connection.execute(
        "select stream, producer, epoch, seq, used_at from producers"
        f" where stream in ({','.join('?' * len(stream_ids))})",
        stream_ids,
    )
    for stream_id, name, *state in rows:
        found.setdefault(stream_id, {})[name] = ProducerState(*state)
    return found


def _stretch(
    connection: apsw.Connection, columns: str, prefix: str, after: str, limit: int
) -> list[Any]:
    """Return columns of the first streams after a path: one stretch of the index of paths."""
    query, values = _stretch_query(columns, prefix, after, limit)
    return connection.execute(query, values).fetchall()


def _stretch_query(columns: str, prefix: str, after: str, limit: int) -> tuple[str, Any]:
    lower, compared = (prefix, ">=") if prefix > after else (after, ">")
    return (
        f"select {columns} from streams where path{compared}? and path<? order by path limit ?",
        (lower, prefix + LAST, limit),
    )


def _compare_next(
    connection: apsw.Connection,
    prefix: str,
    fits: PathTest,
    after: str,
    limit: int,
    ends_at: float,
) -> FoundPaths:
    """Compare the first paths after one.

    They are one row: for each row the thread gives up the interpreter, and waits for it again.
    """
    query, values = _stretch_query("path", prefix, after, PATHS_AT_ONCE)
    row: Any = connection.execute(f"select group_concat(path, char(10)) from ({query})", values)
    ((joined,),) = row
    # A path is ASCII without controls. The order of what is concatenated is not promised.
    paths = sorted(joined.split("\n")) if joined else []
    return at_once(compare(paths, fits, limit, ends_at))
