"""Reads of the data file on a few threads.

Streams to load are read together, since many cost little more than one: one read at a time, the
next for all paths that were queued meanwhile.

Deadlines are one column with one index, but of two clocks (`protocol.streams.moments`): TTLs count
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
from math import inf
from typing import TYPE_CHECKING, TypeVar

import apsw
from typing_extensions import override

from gateway.backends.contract import Listing
from gateway.backends.sqlite.open_files import DataFileLost
from gateway.backends.sqlite.rows import RowReader
from gateway.backends.sqlite.writing.writer_thread import words
from gateway.errors import LogUnavailable, RecordDamaged
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.contract import ListingPage, LoadedStream
    from gateway.backends.sqlite.data_folder import DataFolder
    from gateway.backends.sqlite.recent import Recent
    from gateway.backends.sqlite.rows import Deadline
    from gateway.protocol.streams.state import ClockReading

MAX_LOADS = 500  # paths of one read: far below SQLite's limit of parameters, some 5 ms of a thread
FIRST = (-inf, 0)
# Rows looked at for each wanted stream: a search for 200 takes some 2 ms of a reader thread.
ROWS_FOR_EACH = 5
THREADS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter

T = TypeVar("T")


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
                    _settle(found, outcomes[path])
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


def _settle(found: asyncio.Future[LoadedStream], outcome: LoadedStream | Exception) -> None:
    if found.done():  # nobody waits any more
        return
    if isinstance(outcome, Exception):
        found.set_exception(outcome)
    else:
        found.set_result(outcome)
