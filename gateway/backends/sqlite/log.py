"""The durable log in one SQLite file: commits in groups on one thread, reads on a few others."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw
from typing_extensions import override

from gateway.backends.contract import SoleLog
from gateway.backends.sqlite.data_folder import DataFileLost, DataFolder, upgrade
from gateway.backends.sqlite.expiry import ExpirySearch
from gateway.backends.sqlite.loads import Loads
from gateway.backends.sqlite.recent import Recent
from gateway.backends.sqlite.recovery import recover
from gateway.backends.sqlite.reserve import Reserve
from gateway.backends.sqlite.rows import RowReader
from gateway.backends.sqlite.writer import Writer
from gateway.backends.sqlite.writer_thread import WriterThread, words
from gateway.errors import LogUnavailable, RecordDamaged, StartError
from gateway.protocol.streams.moments import ClockNote, Moment
from gateway.settings.log_kinds.file import folder
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.contract import Listed, Loaded, Settled
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.settings import Route
    from gateway.telemetry.metrics import Histogram

READERS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter
MAX_RETIRED = 1_000_000  # generations remembered for removed paths, about 100 bytes of disk each

T = TypeVar("T")


class SqliteLog(SoleLog):
    """`file:PATH`: a folder with `headgate.db`, held by one process."""

    def __init__(self, folder: Path, *, vfs: str | None = None, max_retired: int = MAX_RETIRED):
        self._folder = DataFolder(folder, vfs)
        self._max_retired = max_retired
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._open_readers: list[RowReader] = []
        self._ids = itertools.count()
        self._history = 0
        self._damaged: Sequence[Path] = ()
        self._streams = 0
        self._size = 0  # bytes of the data file and its WAL
        self._free = 0  # bytes that the disk has left
        self._reserve = Reserve(folder / "headgate.reserve")
        self._loads = Loads(lambda paths: self._reading(lambda reader: reader.load(paths)))
        self._recent = Recent()
        self._expiry = ExpirySearch()
        self._noted: ClockNote | None = None
        self._thread = WriterThread(self._folder, self._reserve, max_retired, self._recent)

    @override
    async def open(self) -> None:
        """Check, lock and open the data file; SQLite recovers what a crash left."""
        writer = await asyncio.to_thread(self._open_writer)
        self._ids = itertools.count(max(time.time_ns(), writer.last_stream_id() + 1))
        self._history = writer.history()
        self._noted = writer.noted or self._noted
        self._streams = writer.streams
        self._size, self._free = self._folder.size(), self._folder.free()
        self._readers = ThreadPoolExecutor(READERS, "headgate-log-read")
        self._thread.start(writer)

    def _open_writer(self) -> Writer:
        written_at = self._folder.written_at()
        self._folder.prepare()
        if written_at is not None:
            self._noted = ClockNote(Moment(written_at, written_at))
        try:
            self._reserve.make()
            try:
                return self._opened()
            except apsw.Error:  # even to look into the file takes some room
                if not self._reserve.release():
                    raise
                return self._opened()
        except apsw.Error as error:
            self._folder.release()
            raise StartError(
                f"the data file {self._folder.file} cannot be used: {error}"
            ) from error
        except (OSError, StartError) as error:
            self._folder.release()
            if isinstance(error, StartError):
                raise
            raise self._folder.unusable(error) from error

    def _opened(self) -> Writer:
        connection = self._folder.connect()
        try:
            recover(self._folder, connection)
            self._folder.hold()
            self._damaged = self._folder.damaged()
            upgrade(self._folder, connection)
            return Writer(connection, self._max_retired, self._recent)
        except BaseException:
            connection.close()
            raise

    @override
    async def close(self) -> None:
        """Let what is under way finish, then close the file and release the folder."""
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
            self._readers = None
        for reader in self._open_readers:
            reader.close()
        self._open_readers.clear()
        await self._thread.stop()  # last, since the last to close takes the WAL into the file
        self._folder.release()

    @override
    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""
        return next(self._ids)

    @override
    def load(self, path: str) -> asyncio.Future[Loaded]:
        """What stands at `path`."""
        return self._loads.load(path)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start`, in one read transaction."""
        return await self._reading(lambda reader: reader.read(state, start, end))

    @override
    async def expired(self, now: Moment, limit: int) -> Sequence[str]:
        """Paths of streams whose deadline has passed."""
        return await self._reading(lambda reader: self._expiry.find(reader, now, limit))

    @override
    async def count_expired(self, now: Moment) -> int:
        """Return how many streams have a deadline that has passed."""
        return await self._reading(lambda reader: reader.count_expired(now))

    @override
    async def clock_note(self) -> ClockNote | None:
        """Return the clocks as noted in the file, or else the time of its last write."""
        return self._noted

    @override
    def note(self, noted: ClockNote) -> None:
        """Note the clocks with the next small step if they say something new, and on closing."""
        self._thread.to_note = noted

    @override
    async def list_streams(self, begins: str, after: str, limit: int) -> Listed:
        """The first streams after a path, in one read."""
        return await self._reading(lambda reader: reader.list_streams(begins, after, limit))

    @override
    async def largest(self, begins: str, most: int) -> Sequence[tuple[int, str]]:
        """The largest streams: a look at every row on a reader thread."""
        return await self._reading(lambda reader: reader.largest(begins, most))

    async def _reading(self, read: Callable[[RowReader], T]) -> T:
        assert self._readers is not None, "not open"
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_one, read)

    def _read_one(self, read: Callable[[RowReader], T]) -> T:
        """On a reader thread, over its own connection; a failed one is opened anew next time."""
        reader: RowReader | None = getattr(self._local, "reader", None)
        try:
            if reader is None:
                connection = self._folder.connect(read_only=True)
                self._folder.check_names()
                reader = RowReader(connection, self._history, self._recent)
                self._open_readers.append(reader)
                self._local.reader = reader
            return read(reader)
        except RecordDamaged as damage:
            log.error("log.damaged", file=str(self._folder.file), reason=damage.detail)
            raise
        except (apsw.Error, DataFileLost) as error:
            log.error("log.unreadable", file=str(self._folder.file), reason=words(error))
            raise LogUnavailable("the log cannot be read now") from error

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Queue the changes for the next group; durable when the future is done."""
        return self._thread.commit(changes)

    @override
    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        """Queue the changes for the next group, each as a commit of its own."""
        self._thread.commit_apart(changes, settled)

    @override
    async def reclaim(self) -> bool:
        """One small step on the writer thread, after what waits there."""
        return await self._thread.run(self._tidy)

    def _tidy(self, writer: Writer) -> bool:
        self._damaged = self._folder.damaged()
        self._size, self._free = self._folder.size(), self._folder.free()
        self._streams = writer.streams
        return self._thread.reclaim(writer)

    @override
    def why_unhealthy(self) -> str | None:
        """The last failure, until a commit of the reopened file went through."""
        return self._thread.why_unhealthy()

    @override
    def takes_removals(self) -> bool:
        """Also of a full disk, as far as the reserve goes."""
        return self._thread.takes_removals()

    def damaged(self) -> Sequence[Path]:
        """The damaged WALs that are kept in the folder, as of a second ago, the newest last."""
        return self._damaged

    @override
    def loss(self) -> str | None:
        """What was lost, for as long as the damaged WAL that shows it is in the folder."""
        kept = self.damaged()
        if not kept:
            return None
        return (
            "the WAL was damaged and acknowledged appends are lost, since when their offsets are"
            f" refused: move {kept[-1]} away when you have taken note"
        )

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        """All of them."""
        return self._thread.figures.named("appends", "queue", "write", "sync")

    @override
    def numbers(self) -> Mapping[str, float]:
        """Commits, their transactions, those that failed, and the damaged WALs that are kept.

        What there is, on disk and of it, is as of a second ago.
        """
        return {
            "streams": self._streams,
            "size_bytes": self._size,
            "free_bytes": self._free,
            "recent_rows": self._recent.rows,
            "commits": self._thread.commits,
            "damaged_wals": len(self._damaged),
            "groups": self._thread.groups,
            "failed_groups": self._thread.failed_groups,
        }


def log_of(route: Route) -> SqliteLog:
    """Return the log in the folder of a route's origin."""
    return SqliteLog(Path(folder(route.origin)))
