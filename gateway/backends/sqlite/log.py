"""The durable log in one SQLite file: commits in groups on one thread, reads on a few others."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from gateway.backends.contract import Conflict, Loaded, SoleLog
from gateway.backends.sqlite.data_folder import DataFileLost, DataFolder
from gateway.backends.sqlite.recovery import cut_behind, recover
from gateway.backends.sqlite.reserve import AT_ONCE, FULL, Reserve, removes
from gateway.backends.sqlite.rows import Reader, Writer
from gateway.errors import HeadgateError, LogUnavailable, RecordDamaged, StartError
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.protocol.chunks import Chunk
    from gateway.protocol.state import Change, StreamState

READERS = 2  # reads are mostly page-cache hits; more threads only contend for the interpreter
MAX_GROUP = 1024  # commits in one transaction: bounds how long its writers wait for each other
MAX_RETIRED = 1_000_000  # generations remembered for removed paths, about 100 bytes of disk each

T = TypeVar("T")


class _Job:
    """One thing for the writer thread and the future that waits for it."""

    __slots__ = ("changes", "done", "task")

    def __init__(
        self,
        done: asyncio.Future[Any],
        changes: Sequence[Change] = (),
        task: Callable[[Writer], object] | None = None,
    ) -> None:
        self.done = done
        self.changes = changes
        self.task = task


class SqliteLog(SoleLog):
    """`file:PATH`: a folder with `headgate.db`, held by one process."""

    def __init__(self, folder: Path, *, vfs: str | None = None, max_retired: int = MAX_RETIRED):
        self._folder = DataFolder(folder, vfs)
        self._max_retired = max_retired
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._open_readers: list[Reader] = []
        self._ids = itertools.count()
        self._history = 0
        self._damaged: Sequence[Path] = ()
        self._trouble: str | None = None
        self._reserve = Reserve(folder / "headgate.reserve")
        self._is_told = False  # the log says that no appends are taken
        self._is_full = False  # the last failure was for want of room
        self._owes = False  # removed streams have room to give back
        self._loop: asyncio.AbstractEventLoop | None = None
        self.groups = 0
        self.commits = 0
        self.failed_groups = 0

    async def open(self) -> None:
        """Check, lock and open the data file; SQLite recovers what a crash left."""
        self._loop = asyncio.get_running_loop()
        writer = await asyncio.to_thread(self._open_writer)
        self._tell()
        self._ids = itertools.count(max(time.time_ns(), writer.last_stream_id() + 1))
        self._history = writer.history()
        self._readers = ThreadPoolExecutor(READERS, "headgate-log-read")
        self._thread = threading.Thread(
            target=self._write, args=(writer,), name="headgate-log-write", daemon=True
        )
        self._thread.start()

    def _open_writer(self) -> Writer:
        self._folder.prepare()
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
            raise StartError(
                f"the data folder {self._folder.folder} cannot be used: {error.strerror}"
            ) from error

    def _opened(self) -> Writer:
        connection = self._folder.connect()
        try:
            recover(self._folder, connection)
            self._folder.hold()
            self._damaged = self._folder.damaged()
            return Writer(connection, self._max_retired)
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Let what is under way finish, then close the file and release the folder."""
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
            self._readers = None
        for reader in self._open_readers:
            reader.close()
        self._open_readers.clear()
        if self._thread is not None:  # last, since the last to close takes the WAL into the file
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            await asyncio.to_thread(self._reserve.give_up)
        self._folder.release()

    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""
        return next(self._ids)

    async def load(self, path: str) -> Loaded:
        """What stands at `path`."""
        return await self._reading(lambda reader: reader.load(path))

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start`, in one read transaction."""
        return await self._reading(lambda reader: reader.read(state, start, end))

    async def expired(self, now: float, limit: int) -> Sequence[str]:
        """Paths of streams whose deadline has passed."""
        return await self._reading(lambda reader: reader.expired(now, limit))

    async def _reading(self, read: Callable[[Reader], T]) -> T:
        assert self._loop is not None, "not open"
        assert self._readers is not None, "not open"
        return await self._loop.run_in_executor(self._readers, self._read_one, read)

    def _read_one(self, read: Callable[[Reader], T]) -> T:
        """On a reader thread, over its own connection; a failed one is opened anew next time."""
        reader: Reader | None = getattr(self._local, "reader", None)
        try:
            if reader is None:
                connection = self._folder.connect(read_only=True)
                self._folder.check_names()
                reader = Reader(connection, self._history)
                self._open_readers.append(reader)
                self._local.reader = reader
            return read(reader)
        except RecordDamaged as damage:
            log.error("log.damaged", file=str(self._folder.file), reason=damage.detail)
            raise
        except (apsw.Error, DataFileLost) as error:
            log.error("log.unreadable", file=str(self._folder.file), reason=_words(error))
            raise LogUnavailable("the log cannot be read now") from error

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Queue the changes for the next group; durable when the future is done."""
        assert self._loop is not None, "not open"
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(done, changes))
        return done

    async def reclaim(self) -> bool:
        """One small step on the writer thread, after what waits there."""
        assert self._loop is not None, "not open"
        done: asyncio.Future[object] = self._loop.create_future()
        self._jobs.put(_Job(done, task=self._tidy))
        return bool(await done)

    def _tidy(self, writer: Writer) -> bool:
        self._damaged = self._folder.damaged()
        if self._reserve.make():
            self._owes = writer.reclaim()
        else:
            self._owes = writer.reclaim(spare_pages=0)
            writer.empty_wal()
            self._reserve.make()
        return self._owes

    def trouble(self) -> str | None:
        """The last failure, until a commit of the reopened file went through."""
        return self._trouble or (None if self._reserve.is_held else FULL)

    def takes_removals(self) -> bool:
        """Also of a full disk, as far as the reserve goes."""
        return self._trouble is None or self._is_full

    def damaged(self) -> Sequence[Path]:
        """The damaged WALs that are kept in the folder, as of a second ago, the newest last."""
        return self._damaged

    def loss(self) -> str | None:
        """What was lost, for as long as the damaged WAL that shows it is in the folder."""
        kept = self.damaged()
        if not kept:
            return None
        return (
            "the WAL was damaged and acknowledged appends are lost, since when their offsets are"
            f" refused: move {kept[-1]} away when you have taken note"
        )

    def numbers(self) -> Mapping[str, int]:
        """Commits, their transactions, those that failed, and the damaged WALs that are kept."""
        return {
            "commits": self.commits,
            "damaged_wals": len(self._damaged),
            "groups": self.groups,
            "failed_groups": self.failed_groups,
        }

    def _write(self, opened: Writer) -> None:
        """The writer thread: whatever waits becomes one transaction."""
        writer: Writer | None = opened
        while True:
            job = self._jobs.get()
            if job is None:
                break
            group, stop = self._gather(job)
            writer, outcomes = self._run_group(writer, group)
            assert self._loop is not None, "not open"
            self._loop.call_soon_threadsafe(_settle, group, outcomes)
            if stop:
                break
        if writer is not None:
            writer.close()

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _run_group(
        self, writer: Writer | None, group: list[_Job]
    ) -> tuple[Writer | None, list[object]]:
        """The commits of a group in one transaction, then its small steps, and all outcomes."""
        commits = [job for job in group if job.task is None]
        writer, stood = self._commit_all(writer, [job.changes for job in commits])
        outcomes: dict[_Job, object] = dict(zip(commits, stood, strict=True))
        for job in group:
            if job.task is not None:
                writer, outcomes[job] = self._run_task(writer, job.task)
        return writer, [outcomes[job] for job in group]

    def _run_task(
        self, writer: Writer | None, task: Callable[[Writer], object]
    ) -> tuple[Writer | None, object]:
        writer, outcome = self._guarded(writer, task)
        if self._is_full and self._owes and self._reserve.release():
            writer, outcome = self._guarded(writer, task)
        return writer, outcome

    def _commit_all(
        self, writer: Writer | None, commits: list[Sequence[Change]]
    ) -> tuple[Writer | None, list[object]]:
        """Commit; what only removes has the reserve for it when there is no room."""
        outcomes: list[object] = [LogUnavailable(f"{FULL}: nothing of this request was stored")]
        outcomes *= len(commits)
        if self._reserve.make():
            writer, outcomes = self._commit_group(writer, commits)
            if not self._is_full:
                return writer, outcomes
        removing = [number for number, changes in enumerate(commits) if removes(changes)]
        if removing:
            self._reserve.release()
        for start in range(0, len(removing), AT_ONCE):
            part = removing[start : start + AT_ONCE]
            writer, stood = self._commit_group(writer, [commits[number] for number in part])
            for number, outcome in zip(part, stood, strict=True):
                outcomes[number] = outcome
            writer, _ = self._guarded(writer, Writer.empty_wal)
        return writer, outcomes

    def _commit_group(
        self, writer: Writer | None, commits: list[Sequence[Change]]
    ) -> tuple[Writer | None, list[object]]:
        if not commits:
            return writer, []
        writer, result = self._guarded(writer, lambda opened: opened.commit(commits))
        if isinstance(result, LogUnavailable):
            self.failed_groups += 1
            return writer, [result] * len(commits)
        self.groups += 1
        self.commits += len(commits)
        assert isinstance(result, list), "Writer.commit tells of each commit whether it stood"
        self._owes = self._owes or any(map(removes, commits))
        return writer, [None if stood else Conflict() for stood in result]

    def _guarded(
        self, writer: Writer | None, step: Callable[[Writer], object]
    ) -> tuple[Writer | None, object]:
        """One step on the file; after a failure the writer is gone and reopened next time.

        A failed sync must not be tried again on the same handle: the kernel may have dropped the
        pages and would report success. The reopened file has to carry a commit of its own, over
        the place of the failed one, before it takes anybody's data.
        """
        try:
            self._folder.check()
            if writer is None:
                writer = self._reopened()
            result = step(writer)
            self._folder.hold()  # before anybody is told that it stands
        except DataFileLost as error:  # what is open stays so: the file may be put back
            return writer, self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, writers must hear of it
            failure = self._failed(error)
            if writer is not None:
                writer.close()
            self._folder.let_go()
            return None, failure
        self._trouble = None
        self._is_full = False
        self._tell()
        return writer, result

    def _reopened(self) -> Writer:
        connection = self._folder.connect()
        cut_behind(self._folder, connection)
        writer = Writer(connection, self._max_retired)
        writer.prove()
        return writer

    def _failed(self, error: Exception) -> LogUnavailable:
        self._is_full = isinstance(error, apsw.FullError)
        self._trouble = f"the log cannot be written: {_words(error)}"
        self._tell()
        why = "the disk is full" if self._is_full else "the log cannot be written now"
        return LogUnavailable(f"{why}: nothing of this request was stored")

    def _tell(self) -> None:
        """Log once that appends are not taken, and once that they are again."""
        trouble = self.trouble()
        if trouble is not None and not self._is_told:
            log.error("log.failed", file=str(self._folder.file), reason=trouble)
        elif trouble is None and self._is_told:
            log.info("log.recovered", file=str(self._folder.file))
        self._is_told = trouble is not None


def _words(error: Exception) -> str:
    """What went wrong with the file, for an operator."""
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def _settle(group: list[_Job], outcomes: list[object]) -> None:
    for job, outcome in zip(group, outcomes, strict=True):
        if job.done.done():  # whoever waited was cancelled; the commit stands all the same
            continue
        if isinstance(outcome, Conflict | HeadgateError):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)
