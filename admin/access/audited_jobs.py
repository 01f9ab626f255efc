"""Lines of the audit log about changes of many streams, from pages and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.audit import audited

if TYPE_CHECKING:
    from admin.model.bulk import BulkJob, BulkStart
    from admin.model.viewer import Viewer
    from admin.streams.bulk.jobs import BulkJobs


def start_job(jobs: BulkJobs, start: BulkStart, by: Viewer) -> BulkJob:
    """Begin to change the streams that were counted. Raises NotTold."""
    job = jobs.job(start.id)
    with audited(by, f"{job.action}-many", job.search.route, _search(job)) as logged:
        logged |= {"job": job.id, "streams": job.count.streams, "rate": start.rate}
        return jobs.start(start, by.name)


async def stop_job(jobs: BulkJobs, job_id: str, by: Viewer) -> BulkJob:
    """Stop a job. Raises NotTold."""
    job = jobs.job(job_id)
    with audited(by, "stop-many", job.search.route, _search(job)) as logged:
        logged |= {"job": job.id, "streams": job.count.streams}
        stopped = await jobs.stop(job_id)
        logged["left"] = stopped.left
        return stopped


def _search(job: BulkJob) -> str:
    """Return the streams of a job in words, for the place of a stream's name."""
    if job.selected:
        return f"({job.selected} selected)"
    named = {"begins": job.search.begins, "contains": job.search.contains, "glob": job.search.glob}
    return " ".join(f"{name}={text}" for name, text in named.items() if text) or "(all)"
