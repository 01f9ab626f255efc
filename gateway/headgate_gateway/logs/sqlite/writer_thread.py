"""The one thread that writes the data file: all commits that wait become one transaction."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import apsw

from headgate_gateway.background import settle
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.counts import CommitHistograms
from headgate_gateway.logs.sqlite.data_folder import DataFileLost, merge_on_close
from headgate_gateway.logs.sqlite.place_rows import reclaim
from headgate_gateway.logs.sqlite.recovery import recover, truncate_wal
from headgate_gateway.logs.sqlite.reserve import AT_ONCE, FULL, Reserve, removes
from headgate_gateway.logs.sqlite.writer import Writer
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.contract import Settled
    from headgate_gateway.logs.sqlite.data_folder import DataFolder
    from headgate_gateway.protocol.streams.state import Change, ClockRecord

# A transaction with so many commits takes no further job; a job has at most as many. All writers of
# a transaction wait for the last of its commits.
MAX_GROUP = 1024

T = TypeVar("T")


class _Job(NamedTuple):
    """A job of the writer thread: independent commits, or one small step (`task`).

    `on_result` is called on the event loop with the outcomes: an exception or None for each commit,
    in their order, or one outcome of the step.
    """

    on_result: Callable[[Sequence[Any]], object]
    commits: Sequence[Sequence[Change]]
    task: Callable[[Writer], object] | None
    queued_at: float  # (monotonic)


class WriterThread:
    """Commits in groups, each of which is one sync to disk, and reopens the file after a failure.

    On a full disk only removals are accepted, for which the reserve is released.
    """

    def __init__(
        self, folder: DataFolder, make_writer: Callable[[apsw.Connection], Writer]
    ) -> None:
        self._folder = folder
        self._reserve = Reserve(folder.folder / "headgate.reserve")
        self._make_writer = make_writer
        self._writer: Writer | None = None  # None after a failure: reopened with the next group
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: Exception | None = None  # of the last step, if that failed
        self._is_failure_logged = False  # the last line about it says that no appends are accepted
        self._can_reclaim = False  # removed streams and records still occupy room
        self.to_note: ClockRecord | None = None  # the present clocks; only the event loop sets them
        # Both are written by the thread, and read by the loop.
        self.histograms = CommitHistograms()
        self.numbers: dict[str, float] = dict.fromkeys(
            ("commits", "groups", "failed_groups", "returned_bytes"), 0
        )

    def open(self) -> Writer:
        """Open the file as the last process left it; on a full disk, in the reserve's room."""
        self._reserve.make()
        try:
            writer = self._opened()
        except apsw.Error as error:  # even opening the file needs some room on the disk
            if isinstance(error, apsw.CorruptError) or not self._reserve.release():
                raise
            writer = self._opened()
        self._writer = writer
        self.numbers |= writer.counts()
        return writer

    def start(self) -> None:
        """Begin, with the file as it was opened."""
        self._log_health()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="headgate-log-write", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish the jobs that wait, close the file and delete the reserve."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            await asyncio.to_thread(self._reserve.give_up)

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Queue the changes for the next group; durable when the future is done."""
        return self._queue((changes,))

    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        """Queue the changes for the next group, or several, each as a commit of its own."""
        loop = self._loop
        assert loop is not None, "not started"
        for first in range(0, len(changes), MAX_GROUP):

            def on_result(failures: Sequence[Any], first: int = first) -> None:
                # In a later pass, as a future's callbacks are: in the order of commits.
                loop.call_soon(settled, first, failures)

            part = [(change,) for change in changes[first : first + MAX_GROUP]]
            self._jobs.put(_Job(on_result, part, None, time.monotonic()))

    def run(self, step: Callable[[Writer], T]) -> asyncio.Future[T]:
        """Queue a small step that runs after the commits that wait; return its result."""
        return self._queue((), step)

    def _queue(
        self, commits: Sequence[Sequence[Change]], task: Callable[[Writer], object] | None = None
    ) -> asyncio.Future[Any]:
        assert self._loop is not None, "not started"
        done: asyncio.Future[Any] = self._loop.create_future()
        on_result = partial(_settle_first, done)
        self._jobs.put(_Job(on_result, commits, task, time.monotonic()))
        return done

    def reclaim(self, writer: Writer) -> bool:
        """Free some room of removed records, on the thread; return whether more remains.

        On a full disk more of it is freed.
        """
        self.numbers |= writer.counts()
        if self._reserve.make():
            writer.note_clocks(self.to_note)
            returned, more = reclaim(writer.connection)
            if returned and not more:
                writer.copy_wal()  # the file is cut off by a checkpoint alone
        else:
            returned, more = reclaim(writer.connection, spare_pages=0)
            writer.empty_wal()
            self._reserve.make()
        self.numbers["returned_bytes"] += returned
        self._can_reclaim = more
        return more

    def why_unhealthy(self) -> str | None:
        """Return the last failure, until a commit of the reopened file went through."""
        if self._error is not None:
            return f"the log cannot be written: {words(self._error)}"
        return None if self._reserve.is_held else FULL

    def accepts_removals(self) -> bool:
        """Return whether a removal fits, on a full disk in the reserve."""
        return self._error is None or self._is_full

    @property
    def _is_full(self) -> bool:
        """True if the last step failed because the disk is full."""
        return isinstance(self._error, apsw.FullError)

    def _write(self) -> None:
        """Run the writer thread: all waiting jobs become one transaction."""
        assert self._loop is not None, "started"
        while (job := self._jobs.get()) is not None:
            group = _gathered(self._jobs, job)
            outcomes = self._run_group(group)
            self._loop.call_soon_threadsafe(_settle_all, group, outcomes)
        if self._writer is not None:
            self._writer.finish(self.to_note)

    def _run_group(self, group: Sequence[_Job]) -> list[Sequence[object]]:
        """Run a group's commits in one transaction, then its small steps; return the outcomes."""
        began = time.monotonic()
        for job in group:
            if job.commits:
                self.histograms.queue.observe(began - job.queued_at, len(job.commits))
        outcomes = iter(self._commit_all(list(chain.from_iterable([it.commits for it in group]))))
        of_jobs: list[Sequence[object]] = []
        for job in group:
            if job.task is None:
                of_jobs.append(list(islice(outcomes, len(job.commits))))
                continue
            outcome = self._guarded(job.task)
            if self._is_full and self._can_reclaim and self._reserve.release():
                outcome = self._guarded(job.task)
            of_jobs.append((outcome,))
        return of_jobs

    def _commit_all(self, commits: list[Sequence[Change]]) -> list[object]:
        """Commit; on a full disk, only the commits that remove, in the room of the reserve."""
        outcomes: list[object] = [LogUnavailable(f"{FULL}: nothing of this request was stored")]
        outcomes *= len(commits)
        if self._reserve.make():
            outcomes = self._commit_group(commits)
            if not self._is_full:
                return outcomes
        removing = [number for number, changes in enumerate(commits) if removes(changes)]
        if removing:
            self._reserve.release()
        for start in range(0, len(removing), AT_ONCE):
            part = removing[start : start + AT_ONCE]
            of_part = self._commit_group([commits[number] for number in part])
            for number, outcome in zip(part, of_part, strict=True):
                outcomes[number] = outcome
            self._guarded(Writer.empty_wal)
        return outcomes

    def _commit_group(self, commits: list[Sequence[Change]]) -> list[object]:
        if not commits:
            return []
        began = time.monotonic()
        result = self._guarded(lambda writer: writer.commit(commits))
        if isinstance(result, LogUnavailable):
            self.numbers["failed_groups"] += 1
            return [result] * len(commits)
        self.numbers["groups"] += 1
        self.numbers["commits"] += len(commits)
        writer = self._writer
        if writer is not None:
            self.histograms.write.observe(writer.written_at - began)
            self.histograms.sync.observe(time.monotonic() - writer.written_at)
            self.histograms.stored(writer.stored)
            self._can_reclaim |= any(it.removes or it.trims for it in writer.stored)
        assert isinstance(result, list), "Writer.commit returns a list"
        return result

    def _guarded(self, step: Callable[[Writer], object]) -> object:
        """Run one step on the file, which after a failure is closed, and reopened next time.

        A failed sync must not be tried again on the same handle: the kernel may have dropped the
        pages and would report success. The reopened file has to carry a commit of its own, over
        the place of the failed one, before it takes anybody's data.
        """
        opened = self._writer
        try:
            self._folder.open_files.check(lambda: 0 if opened is None else opened.file_bytes())
            if self._writer is None:
                self._writer = self._opened(again=True)
            result = step(self._writer)
            self._folder.open_files.hold()  # before any commit is acknowledged
        except DataFileLost as error:  # what is open stays so: the file may be put back
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, writers must hear of it
            failure = self._failed(error)
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._folder.open_files.release_wal()
            return failure
        self._error = None
        self._log_health()
        return result

    def _opened(self, *, again: bool = False) -> Writer:
        """Open the file at the start, or `again` after a failure."""
        connection = self._folder.connect()
        try:
            (truncate_wal if again else recover)(self._folder, connection)
            self._folder.open_files.hold()
            writer = self._make_writer(connection)
            if again:
                writer.prove()
            merge_on_close(connection, allowed=True)
        except BaseException:
            connection.close()
            self._folder.open_files.release_wal()
            raise
        return writer

    def _failed(self, error: Exception) -> LogUnavailable:
        self._error = error.with_traceback(None)  # whose frames hold the data of the commits
        self._log_health()
        why = "the disk is full" if self._is_full else "the log cannot be written now"
        return LogUnavailable(f"{why}: nothing of this request was stored")

    def _log_health(self) -> None:
        """Log once that no appends are accepted, and once that they are accepted again."""
        why_unhealthy = self.why_unhealthy()
        if why_unhealthy is not None and not self._is_failure_logged:
            log.error("log.failed", file=str(self._folder.file), reason=why_unhealthy)
        elif why_unhealthy is None and self._is_failure_logged:
            log.info("log.recovered", file=str(self._folder.file))
        self._is_failure_logged = why_unhealthy is not None


def words(error: Exception) -> str:
    """Return what went wrong with the file, in words for an operator."""
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def _gathered(jobs: queue.SimpleQueue[_Job | None], first: _Job) -> list[_Job]:
    """Return the jobs that wait, up to MAX_GROUP commits."""
    group, commits = [first], len(first.commits)
    while commits < MAX_GROUP:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            break
        if job is None:
            jobs.put(None)  # the end, after this group
            break
        group.append(job)
        commits += len(job.commits) or 1
    return group


def _settle_all(group: Sequence[_Job], outcomes: Sequence[Sequence[object]]) -> None:
    for job, of_job in zip(group, outcomes, strict=True):
        job.on_result(of_job)


def _settle_first(done: asyncio.Future[Any], outcomes: Sequence[object]) -> None:
    settle(done, outcomes[0])
