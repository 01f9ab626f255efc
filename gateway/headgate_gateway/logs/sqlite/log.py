"""The durable log in one SQLite file: one thread commits in groups, a few others read."""

from __future__ import annotations

import asyncio
import itertools
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.logs.contract import Log
from headgate_gateway.logs.counts import Quota
from headgate_gateway.logs.sqlite.data_folder import DataFolder
from headgate_gateway.logs.sqlite.recent import Recent
from headgate_gateway.logs.sqlite.row_readers import RowReaders
from headgate_gateway.logs.sqlite.writer import Writer
from headgate_gateway.logs.sqlite.writer_thread import WriterThread
from headgate_gateway.protocol.streams.state import ClockReading, ClockRecord
from headgate_gateway.settings.log_kinds.file import folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_gateway.logs.contract import Listing, LoadedStream, Settled
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Change, StreamState
    from headgate_gateway.settings import Route
    from headgate_gateway.telemetry.metrics import Histogram

MAX_RETIRED = 1_000_000  # generations remembered for removed paths, about 100 bytes of disk each


class SqliteLog(Log):
    """A log in a data file, `headgate.db` in a folder that one process holds (`file:PATH`).

    `vfs` names another file system of SQLite, such as that of the tests of a power loss.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vfs: str | None = None,
        max_retired: int = MAX_RETIRED,
        max_bytes: int = 0,
    ) -> None:
        self.folder: Path = folder
        self._files = DataFolder(folder, vfs)
        self.quota: Quota = Quota(max_bytes)
        self._ids = itertools.count()
        self._recent = Recent()
        make_writer = partial(
            Writer, max_retired=max_retired, recent=self._recent, quota=self.quota
        )
        self.writer_thread: WriterThread = WriterThread(self._files, make_writer)
        self._readers = RowReaders(self._files, self._recent)
        self.listing: Listing = self._readers
        self._noted: ClockRecord | None = None
        self._numbers: dict[str, float] = {}  # of the files, which may be a second old

    @override
    async def open(self) -> None:
        """Check, lock and open the data file; SQLite recovers what a crash left."""
        writer = await asyncio.to_thread(self._open_writer)
        self._ids = itertools.count(max(time.time_ns(), writer.last_stream_id + 1))
        self._readers.start(writer.history)
        self.writer_thread.start()

    def _open_writer(self) -> Writer:
        # Before opening, which may write to the file.
        if times := [it.st_mtime for it in self._files.file_stats()]:
            self._noted = ClockRecord(ClockReading(max(times), max(times)))
        self._files.prepare()
        with self._files.start_errors("used"):
            writer = self.writer_thread.open()
            self._noted = writer.noted or self._noted
            try:
                self._measure()
            except BaseException:
                writer.close()
                raise
        return writer

    def _measure(self) -> None:
        """Measure the data file and the disk, which needs no open file: the disk may be full."""
        self._numbers = {
            # Of the data file and its WAL.
            "size_bytes": sum(it.st_size for it in self._files.file_stats()),
            "free_bytes": self._files.free(),  # on the disk
        }

    @override
    async def close(self) -> None:
        """Let what is under way finish, then close the file and release the folder."""
        await self._readers.stop()
        # The thread stops last: the last connection that closes copies the WAL into the file.
        await self.writer_thread.stop()
        self._files.release()

    @override
    def why_unhealthy(self) -> str | None:
        return self.writer_thread.why_unhealthy()

    @override
    def new_stream_id(self) -> int:
        return next(self._ids)

    @override
    def load(self, path: str) -> asyncio.Future[LoadedStream]:
        return self._readers.load(path)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        return await self._readers.read(state, start, end)

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        return self.writer_thread.commit(changes)

    @override
    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        self.writer_thread.commit_separately(changes, settled)

    @override
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        return await self._readers.expired(now, limit)

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        return self.writer_thread.histograms.by_name("appends", "queue", "write", "sync")

    @override
    def numbers(self) -> Mapping[str, float]:
        return {**self._numbers, **self.writer_thread.numbers, "recent_rows": self._recent.rows}

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return await self._readers.count_expired(now)

    @override
    def noted_clocks(self) -> ClockRecord | None:
        return self._noted  # in the file, or else the time of its last write

    @override
    def note_clocks(self, clocks: ClockRecord) -> None:
        self.writer_thread.to_note = clocks

    @override
    async def reclaim(self) -> bool:
        await asyncio.to_thread(self._measure)
        return await self.writer_thread.run(self.writer_thread.reclaim)

    @override
    def accepts_removals(self) -> bool:
        return self.writer_thread.accepts_removals()  # on a full disk in the room of the reserve


def log_of(route: Route) -> SqliteLog:
    """Return the log in the folder of a route's origin."""
    return SqliteLog(Path(folder(route.storage)), max_bytes=route.max_storage_size)
