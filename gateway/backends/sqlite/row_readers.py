"""Reads of the data file on a few threads, and the lists of its streams that are made by them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
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
    from collections.abc import Callable, Sequence

    from gateway.backends.contract import ListingPage
    from gateway.backends.sqlite.data_folder import DataFolder
    from gateway.backends.sqlite.recent import Recent

THREADS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter

T = TypeVar("T")


class RowReaders:
    """A few threads that read the data file, each over a connection of its own."""

    def __init__(self, folder: DataFolder, recent: Recent) -> None:
        self._folder = folder
        self._recent = recent
        self._history = 0
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._open: list[RowReader] = []

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


class RowListing(Listing):
    """Lists of the streams of a data file, each made in one read."""

    def __init__(self, readers: RowReaders) -> None:
        self._readers = readers

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        return await self._readers.run(lambda reader: reader.list_streams(prefix, after, limit))

    @override
    async def paths(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        return await self._readers.run(lambda reader: reader.paths(prefix, after, limit))

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        return await self._readers.run(lambda reader: reader.largest(prefix, most))
