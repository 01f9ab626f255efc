"""A job from its count to its end: it notes what it counts, and changes what it has noted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from admin.errors import NotTold
from admin.model.bulk import BulkCount
from admin.streams.bulk.job_files import SavedJob
from admin.streams.bulk.tally import StreamResult, added
from gateway.features.questions.streams import LARGEST_PAGE
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from admin.model.bulk import BulkJob, BulkState
    from admin.streams.bulk.access import ChangedStreams, SearchedStreams
    from admin.streams.bulk.job_files import CountedStream, JobFiles, NameFile
    from gateway.features.questions.streams import StreamRow

SAMPLE = 20  # names that are shown before somebody confirms
AT_ONCE = 8  # requests: they hide a round trip, and keep nobody else waiting
BATCHES_A_SECOND = 10  # so that a slow job is even, too
SAVE_S = 1.0  # what was done since then is done again after a crash, and counts as gone
GONE = frozenset({404, 410})
UNAVAILABLE = frozenset({429, 500, 502, 503, 504})
# A minute, in which a listener restarts and a Redis fails over.
RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# Streams in a row that were unavailable for a minute: then it is the log, and the job ends.
MOST_UNAVAILABLE = AT_ONCE


class OpenJob:
    """A job that is counting, counted or running; `job` is what is shown of it."""

    def __init__(
        self,
        saved: SavedJob,
        names: NameFile,
        files: JobFiles,
        ways: tuple[SearchedStreams, ChangedStreams],
        clock: Callable[[], float],
    ) -> None:
        """`ways` lead to the streams. `clock` returns epoch seconds."""
        self.job: BulkJob = saved.job
        self._names = names
        self._files = files
        self._streams, self._changes = ways
        self._clock = clock
        self._stop = asyncio.Event()
        self._is_closing = False
        self._saved_at = float("-inf")
        self._saving = asyncio.Lock()  # one thread at a time writes the file
        self._is_failing = False
        self.task: asyncio.Task[None] | None = None

    def begin_count(self, selected: Sequence[str]) -> None:
        """Count in a task: the streams with these names, or those of the search."""
        self.task = asyncio.create_task(self._guarded(self._count(selected)))

    def begin_changes(self) -> None:
        """Change what was counted, in a task."""
        self.task = asyncio.create_task(self._guarded(self._run()))

    def start(self, by: str, rate: int) -> None:
        """Begin to change the streams, for an operator who has confirmed it."""
        self._set(state="running", started_by=by, started_at=self._clock(), rate=rate)
        self.begin_changes()

    async def stop(self) -> None:
        """End the job, when the requests under way are answered."""
        self._stop.set()
        if self.task is None or self.task.done():
            await self._end("stopped")

    async def close(self, wait_s: float) -> None:
        """Leave the job as it is, since the process ends; another one goes on with it."""
        self._is_closing = True
        self._stop.set()
        if self.task is not None:
            await asyncio.wait([self.task], timeout=wait_s)
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.job.state == "running" and not self._files.is_durable:
            log.warning("bulk.unfinished", **self._fields())
        await self._save()
        self._names.close()

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Do the work of a task; a fault ends the job, and is logged."""
        try:
            await work
        except NotTold as refusal:
            await self._end("failed", refusal.reason)
        except OSError as error:
            await self._end("failed", f"its file cannot be written or read: {error.strerror}")
        except Exception:  # noqa: BLE001 - the job must not run for ever
            log.exception("bulk.broken", job=self.job.id)
            await self._end("failed", "the log tells what went wrong")

    # The count

    async def _count(self, selected: Sequence[str]) -> None:
        async for rows in self._selected(selected) if selected else self._found():
            if self._stop.is_set():
                break
            if not await self._note(rows):
                self._set(count=replace(self.job.count, is_cut=True))
                break
        if self._stop.is_set():
            if not self._is_closing:
                await self._end("stopped")
            return
        await asyncio.to_thread(self._names.finish)
        if not self.job.count.streams:
            await self._end("done")
            return
        self._set(state="counted")
        await self._save()
        if self._stop.is_set() and self.job.state == "counted" and not self._is_closing:
            await self._end("stopped")

    async def _found(self) -> AsyncIterator[Sequence[StreamRow]]:
        after: str | None = ""
        while after is not None:
            page = await self._streams.streams(self.job.search, after=after, limit=LARGEST_PAGE)
            yield page.rows
            after = page.after

    async def _selected(self, names: Sequence[str]) -> AsyncIterator[Sequence[StreamRow]]:
        for name in dict.fromkeys(names):
            try:
                yield [(await self._streams.stream(self.job.search.route, name)).row]
            except NotTold as refusal:
                if refusal.status not in GONE:
                    raise

    async def _note(self, rows: Sequence[StreamRow]) -> bool:
        """Note streams that are to be changed; return False if there is no more room."""
        if self.job.action == "close":
            rows = [row for row in rows if not row.closed]
        if not await asyncio.to_thread(self._names.add, [(it.name, it.stream_id) for it in rows]):
            return False
        count = self.job.count
        sizes = [row.size for row in rows]
        known = [size for size in sizes if size is not None]
        whole = count.size is not None and len(known) == len(sizes)
        self._set(
            count=BulkCount(
                count.streams + len(rows),
                (count.size or 0) + sum(known) if whole else None,
                (*count.sample, *(row.name for row in rows))[:SAMPLE],
            )
        )
        return True

    # The changes

    async def _run(self) -> None:
        await self._save()
        size = max(1, min(AT_ONCE, self.job.rate // BATCHES_A_SECOND))
        unavailable = 0
        while not self._stop.is_set():
            batch = await asyncio.to_thread(self._names.read, size)
            if not batch:
                break
            results = await self._paced(batch)
            for result in results:
                unavailable = unavailable + 1 if result.is_unavailable else 0
            if unavailable >= MOST_UNAVAILABLE:
                await self._end("failed", results[-1].cause)
                return
        if not self._stop.is_set() or not self.job.left:
            await self._end("done")
        elif not self._is_closing:
            await self._end("stopped")

    async def _paced(self, batch: Sequence[CountedStream]) -> Sequence[StreamResult]:
        """Change streams, and wait for as long as the rate wants it; return their results."""
        time = asyncio.get_running_loop().time
        began = time()
        self._changes.check_route(self.job.search.route)  # a reload may have removed it
        results = await asyncio.gather(*map(self._changed, batch))
        is_whole = all(it.kind != "left" for it in results)
        if is_whole or not self._is_closing:  # else the next process changes and counts the batch
            self._set(progress=added(self.job.progress, results), trouble=None)
        if is_whole:
            self._names.pass_read()
        if time() - self._saved_at >= SAVE_S:
            await self._save()
        await self._stops_within(len(batch) / self.job.rate - (time() - began))
        return results

    async def _changed(self, stream: CountedStream) -> StreamResult:
        """Change a stream, in several attempts if it is unavailable; return what became of it."""
        name, stream_id = stream
        waits = iter(RETRY_AFTER_S)
        while True:
            try:
                await self._change(name, stream_id)
                return StreamResult(name, "changed")
            except NotTold as refusal:
                if refusal.status in GONE:
                    return StreamResult(name, "gone")
                is_unavailable = refusal.status in UNAVAILABLE
                wait_s = next(waits, None) if is_unavailable else None
                if wait_s is None:
                    return StreamResult(name, "failed", refusal.reason, is_unavailable)
                self._set(trouble=refusal.reason)
            if await self._stops_within(wait_s):
                return StreamResult(name, "left")

    async def _change(self, name: str, stream_id: str | None) -> None:
        """Change the stream that was counted. Raises NotTold, with 404 for another one."""
        route = self.job.search.route
        if self.job.action == "delete":
            await self._changes.delete(route, name, stream_id)
            return
        if stream_id is not None:
            found = (await self._streams.stream(route, name)).row
            if found.stream_id != stream_id:
                raise NotTold(404, "another stream is at this name now")
        await self._changes.close_stream(route, name)

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stop.wait()
        return self._stop.is_set()

    # The state

    def _set(self, **changes: object) -> None:
        self.job = replace(self.job, **changes)

    async def _end(self, state: BulkState, trouble: str | None = None) -> None:
        """End the job, and say so in an event if it had begun to change streams."""
        self._set(state=state, trouble=trouble, ended_at=self._clock())
        if self.job.started_at is not None:
            if state == "done" and not self.job.progress.failed:
                log.info("bulk.done", **self._fields())
            else:
                log.warning("bulk.incomplete", **self._fields())
        await self._save()
        self._names.close()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._files.drop_names, self.job.id)

    async def _save(self) -> None:
        """Write the job to its file. Logs the first failure, after which the job goes on."""
        self._saved_at = asyncio.get_running_loop().time()
        async with self._saving:
            saved = SavedJob(self.job, self._names.position)
            try:
                await asyncio.to_thread(self._files.save, saved)
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    log.warning("bulk.not_kept", job=self.job.id, reason=error.strerror)
                self._is_failing = True

    def _fields(self) -> dict[str, object]:
        """Return what events say of the job."""
        job, progress = self.job, self.job.progress
        return {
            "job": job.id,
            "action": job.action,
            "route": job.search.route,
            "by": job.started_by,
            "streams": job.count.streams,
            "changed": progress.changed,
            "gone": progress.gone,
            "failed": progress.failed,
            "causes": [f"{it.cause}: {it.streams}" for it in progress.failures],
            "left": job.left,
            "reason": job.trouble or job.state,
        }
