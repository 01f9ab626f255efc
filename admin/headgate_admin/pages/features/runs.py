"""The page of runs: what is produced, how the others ended, and a button that stops one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, get_args

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.model.streams import OfRuns, OfStream
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice
from headgate_gateway.features.questions.runs import RunStatus

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/runs"
STATUSES: dict[str, str] = {
    "": "All",
    "active": "Running",
    "finished": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "orphaned": "Orphaned",
}
LEVELS: dict[RunStatus, str] = {
    "active": "good",
    "finished": "good",
    "stopped": "warning",
    "failed": "bad",
    "orphaned": "bad",
}
WORDS = {"active": "running"} | {it: it for it in get_args(RunStatus) if it != "active"}
DONE = {
    "asked": "The run was asked to stop.",
    "nobody": "This run has ended already: there was nothing to stop.",
}


async def show(visit: Visit) -> TemplatePage:
    """Return a page of a route's runs, or why there are none where the log cannot be read."""
    prefixes = visit.console.routes_of_runs
    route = visit.query.get("route", prefixes[0] if prefixes else "")
    status = choice(visit.query.get("status", ""), tuple(STATUSES), "status")
    after = visit.query.get("after", "")
    listed, trouble = None, None
    try:
        if prefixes:
            wanted_status: RunStatus | None = status or None  # type: ignore[assignment]  # one of these
            listed = await visit.console.runs(OfRuns(route, wanted_status, after))
    except ConsoleError as refusal:
        trouble = refusal
    return TemplatePage(
        "runs.html",
        {
            "prefixes": prefixes,
            "route": route,
            "status": status,
            "statuses": list(STATUSES.items()),
            "levels": LEVELS,
            "words": WORDS,
            "after": after,
            "listed": listed,
            "has_answers": listed is not None and any(it.answer for it in listed.runs),
            "trouble": trouble,
            "can_stop": visit.viewer.is_operator,
        },
    )


async def submit(visit: Visit) -> NoReturn:
    """Ask the producer of a run to stop."""
    route, name = visit.query.get("route", ""), visit.entered.get("name", "")
    stopping = await visit.console.changes.stop_run(OfStream(route, name), visit.viewer)
    query = {key: visit.query.get(key, "") for key in ("route", "status", "after")}
    raise web.HTTPSeeOther(link(PATH, **query, done="asked" if stopping.is_asked else "nobody"))


MENU = MenuEntry(
    "Runs",
    "M5 3.5v9l7-4.5z",
    key="u",
    order=90,
    is_useful=lambda console: bool(console.routes_of_runs),
)
PAGE = ConsolePage(PATH, show, submit, MENU, DONE)
