"""The page of changes of many streams: their count, their confirmation and their progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from admin.access.audited_jobs import start_job, stop_job
from admin.errors import NotTold
from admin.model.bulk import HIGHEST_RATE, USUAL_RATE, BulkStart, BulkWish
from admin.pages.console_page import ConsolePage
from admin.pages.limit_form import wish_of
from admin.pages.rendering import TemplatePage, link
from admin.pages.visit import choice, frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from admin.pages.visit import Visit

PATH = "/bulk"
# A count of usual size is shown at once; the page of a longer one goes on by itself.
COUNTED_WITHIN_S = 2.0
# The conditions that the search of the page of streams can have.
SEARCHES = ("begins", "contains", "glob")
SELECTED = "name-"


async def show(visit: Visit) -> TemplatePage:
    """Return the page of one job, or of all."""
    job_id = visit.query.get("job", "")
    job = visit.console.bulk.job(job_id) if job_id else None
    return TemplatePage(
        "bulk.html",
        {
            "here": "/streams",  # the entry of the menu
            **await frame(visit),
            "job": job,
            "jobs": (job,) if job else visit.console.bulk.list(),
            "can_change": visit.viewer.role == "operator",
            "usual_rate": USUAL_RATE,
            "highest_rate": HIGHEST_RATE,
            "refusal": visit.refusal,
            "now": visit.now,
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Count the streams of a form, or start or stop the job of the page."""
    do = CHANGES[choice(visit.entered.get("do", ""), tuple(CHANGES), "do")]
    raise web.HTTPSeeOther(link(PATH, job=await do(visit)))


async def _count(visit: Visit) -> str:
    """Begin a count, and wait for its end if it comes soon; return the job's id."""
    entered = visit.entered
    action, _, which = entered["do"].partition("-")
    wish = {"action": action, "route": entered.get("route", "")}
    if which == "selected":
        names = [text for name, text in entered.items() if name.startswith(SELECTED)]
        if not names:
            raise NotTold(400, "Select streams in the table first: nothing was counted.")
        wanted = wish_of({**wish, "names": names}, BulkWish)
    else:
        by = choice(entered.get("by", "begins"), SEARCHES, "by")
        wanted = wish_of({**wish, by: entered.get("text", "")}, BulkWish)
    job = await visit.console.bulk.count(wanted, visit.viewer.name)
    await visit.console.bulk.rest(job.id, COUNTED_WITHIN_S)
    return job.id


async def _start(visit: Visit) -> str:
    """Start the job of the page."""
    entered = {name: visit.entered.get(name, "").strip() for name in ("confirm", "rate")}
    entered["confirm"] = entered["confirm"].replace(",", "")  # as the page shows the number
    if not entered["confirm"].isdecimal():
        raise NotTold(400, "Enter the number of streams to confirm: nothing was done.")
    entered["rate"] = entered["rate"] or str(USUAL_RATE)
    start = wish_of({"id": visit.query.get("job", ""), **entered}, BulkStart)
    return start_job(visit.console.bulk, start, visit.viewer).id


async def _stop(visit: Visit) -> str:
    """Stop the job of the page."""
    return (await stop_job(visit.console.bulk, visit.query.get("job", ""), visit.viewer)).id


CHANGES: Mapping[str, Callable[[Visit], Awaitable[str]]] = {
    "delete-selected": _count,
    "close-selected": _count,
    "delete-found": _count,
    "close-found": _count,
    "start": _start,
    "stop": _stop,
}


PAGE = ConsolePage(PATH, show, submit)
