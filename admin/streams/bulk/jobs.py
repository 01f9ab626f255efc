"""All jobs that change many streams: begun, confirmed and stopped by operators."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from msgspec.structs import replace

from admin.errors import NotTold
from admin.model.bulk import BulkJob
from admin.model.streams import StreamSearch
from admin.streams.bulk.job_files import SavedJob
from admin.streams.bulk.open_job import OpenJob
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin.model.bulk import BulkStart, BulkWish
    from admin.streams.bulk.access import ChangedStreams, SearchedStreams
    from admin.streams.bulk.job_files import JobFiles

MOST_OPEN = 4  # all together they change 2,000 streams a second at most
MOST_ENDED = 50  # some kilobytes each
# An operator looks at the names, and asks somebody. Later, who confirms may think of other streams.
COUNT_IS_VALID_S = 3600.0
STOP_S = 1.0  # to show the end of a job that was stopped, as a rule
CLOSE_S = 5.0  # for the requests under way when the process ends


class BulkJobs:
    """The jobs of this gateway. What is refused raises NotTold."""

    def __init__(
        self,
        files: JobFiles,
        streams: SearchedStreams,
        changes: ChangedStreams,
        clock: Callable[[], float],
    ) -> None:
        """`clock` returns epoch seconds."""
        self._files = files
        self._ways = (streams, changes)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._jobs: dict[str, OpenJob | BulkJob] = {}  # in the order of their beginnings

    async def open(self) -> None:
        """Go on with the jobs of a former process."""
        try:
            found = await asyncio.to_thread(self._files.read)
        except OSError as error:
            log.warning("bulk.not_kept", job="", reason=error.strerror)
            return
        for saved in sorted(found, key=lambda it: it.job.created_at):
            self._jobs[saved.job.id] = await self._reopened(saved)

    async def close(self) -> None:
        """Leave open jobs to the next process, or log that they are unfinished."""
        open_jobs = [it for it in self._jobs.values() if isinstance(it, OpenJob) and it.job.is_open]
        await asyncio.gather(*(it.close(CLOSE_S) for it in open_jobs))

    def list(self) -> tuple[BulkJob, ...]:
        """Return all jobs, the newest first."""
        return tuple(map(_shown, reversed(self._jobs.values())))

    def job(self, job_id: str) -> BulkJob:
        """Return a job."""
        if job_id not in self._jobs:
            raise NotTold(404, "there is no such job, or it ended long ago")
        return _shown(self._jobs[job_id])

    async def count(self, wish: BulkWish, by: str) -> BulkJob:
        """Begin to count the streams that an operator wants to change."""
        if wish.names and (wish.begins or wish.contains or wish.glob):
            raise NotTold(400, "give names or a search, not both")
        self._ways[1].check_route(wish.route)
        async with self._turn:  # of several at once, each sees those before it
            return await self._begin(wish, by)

    async def rest(self, job_id: str, within_s: float) -> None:
        """Wait until nothing is done for a job, but not longer than that."""
        found = self._jobs.get(job_id)
        if isinstance(found, OpenJob) and found.task is not None:
            await asyncio.wait([found.task], timeout=within_s)

    def start(self, start: BulkStart, by: str) -> BulkJob:
        """Begin to change the streams that were counted, if their number is confirmed."""
        job = self.job(start.id)
        opened = self._jobs[start.id]
        if job.state != "counted" or not isinstance(opened, OpenJob):
            raise NotTold(409, f"this job is {job.state}: count again")
        if self._clock() - job.created_at > COUNT_IS_VALID_S:
            raise NotTold(409, "this count is more than an hour old: count again")
        if start.confirm != job.count.streams:
            raise NotTold(400, f"this is not the number of streams, {job.count.streams}")
        opened.start(by, start.rate)
        return opened.job

    async def stop(self, job_id: str) -> BulkJob:
        """Stop a job, or drop one that was only counted."""
        job = self.job(job_id)
        opened = self._jobs[job_id]
        if not job.is_open or not isinstance(opened, OpenJob):
            raise NotTold(409, f"this job is {job.state} already")
        await opened.stop()
        await self.rest(job_id, STOP_S)
        return opened.job

    async def _begin(self, wish: BulkWish, by: str) -> BulkJob:
        await self._make_room()
        job = BulkJob(
            id=secrets.token_hex(6),
            action=wish.action,
            search=StreamSearch(wish.route, wish.begins, wish.contains, wish.glob),
            selected=len(wish.names),
            by=by,
            created_at=self._clock(),
        )
        try:
            names = await asyncio.to_thread(self._files.new_names, job.id)
        except OSError as error:
            reason = f"the names cannot be stored: {error.strerror}"
            raise NotTold(503, reason) from error
        opened = OpenJob(SavedJob(job), names, self._files, self._ways, self._clock)
        self._jobs[job.id] = opened
        opened.begin_count(wish.names)
        return job

    async def _reopened(self, saved: SavedJob) -> OpenJob | BulkJob:
        job = saved.job
        if not job.is_open:
            return job
        try:
            if job.state == "counting":
                raise FileNotFoundError  # the names are not all there
            names = await asyncio.to_thread(self._files.names, saved)
        except OSError:
            reason = "the server ended before the count did: count again"
            job = replace(job, state="failed", trouble=reason, ended_at=self._clock())
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._files.drop_names, job.id)
                await asyncio.to_thread(self._files.save, SavedJob(job))
            return job
        opened = OpenJob(saved, names, self._files, self._ways, self._clock)
        if job.state == "running":
            log.info(
                "bulk.resumed",
                job=job.id,
                action=job.action,
                route=job.search.route,
                by=job.started_by,
                left=job.left,
            )
            opened.begin_changes()
        return opened

    async def _make_room(self) -> None:
        """Drop jobs that ended long ago, and the oldest that nobody has confirmed if it must be."""
        found = [(key, _shown(it)) for key, it in self._jobs.items()]
        ended = [key for key, job in found if not job.is_open]
        for key in ended[: max(0, len(ended) - MOST_ENDED + 1)]:
            del self._jobs[key]
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._files.drop, key)
        open_jobs = [job for _, job in found if job.is_open]
        if len(open_jobs) < MOST_OPEN:
            return
        idle = [job for job in open_jobs if job.state == "counted"]
        if not idle:
            reason = f"{MOST_OPEN} jobs are under way: wait for the end of one, or stop it"
            raise NotTold(409, reason)
        await self.stop(idle[0].id)


def _shown(job: OpenJob | BulkJob) -> BulkJob:
    return job.job if isinstance(job, OpenJob) else job
