"""The durable log in one SQLite file: one thread commits in groups, a few others read."""

from __future__ import annotations

import asyncio
import itertools
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
from typing_extensions import override

from gateway.logs.contract import Log, Upkeep
from gateway.logs.counts import Quota
from gateway.logs.sqlite.data_folder import DataFolder, merge_on_close
from gateway.logs.sqlite.recent import Recent
from gateway.logs.sqlite.recovery import recover
from gateway.logs.sqlite.reserve import Reserve
from gateway.logs.sqlite.row_readers import RowReaders
from gateway.logs.sqlite.upkeep import unused_bytes
from gateway.logs.sqlite.writer import Writer
from gateway.logs.sqlite.writer_thread import WriterThread
from gateway.protocol.streams.state import ClockReading, ClockRecord
from gateway.settings.log_kinds.file import folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.logs.contract import Listing, LoadedStream, Settled
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.settings import Route
    from gateway.telemetry.metrics import Histogram

MAX_RETIRED = 1_000_000  # generations remembered for removed paths, about 100 bytes of disk each


class FileUpkeep(Upkeep):
    """The upkeep of a data file on its writer thread, in small steps.

    The counts of its streams and its disk, `numbers`, may be a second old.
    """

    def __init__(self, folder: DataFolder, thread: WriterThread) -> None:
        self._folder = folder
        self._thread = thread
        self._noted: ClockRecord | None = None
        self.damaged: Sequence[Path] = ()  # damaged WALs that are in the folder, the newest last
        self.numbers: dict[str, float] = {"returned_bytes": 0}  # that went back to the disk

    def before_opening(self) -> None:
        """Note when the file was last written, since opening it may write to it."""
        written_at = self._folder.written_at()
        if written_at is not None:
            self._noted = ClockRecord(ClockReading(written_at, written_at))

    def after_opening(self, writer: Writer) -> None:
        """Use the clocks that are noted in the file, if there are any; make the first counts."""
        self._noted = writer.clocks.noted or self._noted
        self._measure()
        self._look(writer)

    def _measure(self) -> None:
        """Measure the data file and the disk, which needs no open file: the disk may be full."""
        self.damaged = self._folder.damaged_wals()
        self.numbers["damaged_wals"] = len(self.damaged)
        self.numbers["size_bytes"] = self._folder.size()  # of the data file and its WAL
        self.numbers["free_bytes"] = self._folder.free()  # on the disk

    def _look(self, writer: Writer) -> None:
        """Count the streams, and what of the data file holds nothing."""
        self.numbers["unused_bytes"] = unused_bytes(writer.connection)
        writer.count_used()
        self.numbers["streams"] = writer.streams

    @override
    def clock_note(self) -> ClockRecord | None:
        return self._noted  # in the file, or else the time of its last write

    @override
    def note(self, noted: ClockRecord) -> None:
        self._thread.to_note = noted

    @override
    async def reclaim(self) -> bool:
        await asyncio.to_thread(self._measure)
        return await self._thread.run(self._reclaim)

    def _reclaim(self, writer: Writer) -> bool:
        self._look(writer)
        returned, more = self._thread.reclaim(writer)
        self.numbers["returned_bytes"] += returned
        return more

    @override
    def accepts_removals(self) -> bool:
        return self._thread.accepts_removals()  # on a full disk in the room of the reserve

    @override
    def loss(self) -> str | None:
        if not self.damaged:
            return None
        return (
            "the WAL was damaged and acknowledged appends are lost, since when their offsets are"
            f" refused: move {self.damaged[-1]} away when you have taken note"
        )


class SqliteLog(Log):
    """A log in a data file, `headgate.db` in a folder that one process holds (`file:PATH`)."""

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
        self._reserve = Reserve(folder / "headgate.reserve")
        self._recent = Recent()
        self._make_writer = partial(
            Writer, max_retired=max_retired, recent=self._recent, quota=self.quota
        )
        self.writer_thread: WriterThread = WriterThread(
            self._files, self._reserve, self._make_writer
        )
        self._readers = RowReaders(self._files, self._recent)
        self.listing: Listing = self._readers
        self.upkeep: FileUpkeep = FileUpkeep(self._files, self.writer_thread)

    @override
    async def open(self) -> None:
        """Check, lock and open the data file; SQLite recovers what a crash left."""
        writer, last_id, history = await asyncio.to_thread(self._open_writer)
        self._ids = itertools.count(max(time.time_ns(), last_id + 1))
        self._readers.start(history)
        self.writer_thread.start(writer)

    def _open_writer(self) -> tuple[Writer, int, int]:
        """Return the writer, the highest stream id, and the number of the history."""
        self.upkeep.before_opening()
        self._files.prepare()
        with self._files.start_errors("used"):
            self._reserve.make()
            try:
                return self._opened()
            except apsw.Error as error:  # even opening the file needs some room on the disk
                if isinstance(error, apsw.CorruptError) or not self._reserve.release():
                    raise
                return self._opened()

    def _opened(self) -> tuple[Writer, int, int]:
        connection = self._files.connect()
        try:
            recover(self._files, connection)
            self._files.open_files.hold()
            writer = self._make_writer(connection)
            self.upkeep.after_opening(writer)
            found = writer, writer.last_stream_id(), writer.history()
            merge_on_close(connection, allowed=True)
        except BaseException:
            connection.close()
            self._files.open_files.clear()  # the WAL has gone with the connection
            raise
        return found

    @override
    async def close(self) -> None:
        """Let what is under way finish, then close the file and release the folder."""
        await self._readers.stop()
        # The thread stops last: the last connection that closes copies the WAL into the file.
        await self.writer_thread.stop()
        self._files.release()

    @override
    def why_unhealthy(self) -> str | None:
        """Return the last failure, until a commit of the reopened file went through."""
        return self.writer_thread.why_unhealthy()

    @override
    def new_stream_id(self) -> int:
        return next(self._ids)

    @override
    def load(self, path: str) -> asyncio.Future[LoadedStream]:
        return self._readers.load(path)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """Return the records after `start`, read in one transaction."""
        return await self._readers.run(lambda reader: reader.read(state, start, end))

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Queue the changes for the next group; durable when the future is done."""
        return self.writer_thread.commit(changes)

    @override
    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        """Queue the changes for the next group, each as a commit of its own."""
        self.writer_thread.commit_apart(changes, settled)

    @override
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        return await self._readers.expired(now, limit)

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        return self.writer_thread.histograms.by_name("appends", "queue", "write", "sync")

    @override
    def numbers(self) -> Mapping[str, float]:
        thread = self.writer_thread
        return {
            **self.upkeep.numbers,
            "recent_rows": self._recent.rows,
            "commits": thread.commits,
            "groups": thread.groups,
            "failed_groups": thread.failed_groups,
        }

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return await self._readers.run(lambda reader: reader.count_expired(now))


def log_of(route: Route) -> SqliteLog:
    """Return the log in the folder of a route's origin."""
    return SqliteLog(Path(folder(route.origin)), max_bytes=route.max_log_size)
