"""Examines servers as `headgate doctor cdn URL` does, without a process of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_doctor.deployment import ExaminationOptions
from headgate_doctor.examination import CHECKS, Examination, examine
from headgate_doctor.finding import CheckVerdict
from headgate_doctor.streams import first_target
from tests.support.http1 import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.finding import Check, Finding
    from tests.support.processes import Headgate

# Long enough on a busy machine for twenty polls to arrive, and for an append that ends them all.
# Streams that an examination makes on a way without a fault.
MADE = 25
MADE_AGAIN = 5  # requests for streams that are there already, or have no name that is allowed
POLL_S = 6.0
WAITS = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": f"{POLL_S:g}"}
ENVIRONMENT = {"HEADGATE_LIVE__SSE_HEARTBEAT": "1"}
PRIVATE: set[Check] = {"reader-key", "private reads"}
COMPARED: set[Check] = {"configuration"}  # with a rendered file, where one is given
BESIDE: set[Check] = {"one server", "sent once", "waiting readers", "cookies", "rate limit"}
ALL = {name for row in CHECKS for name in row.finds} - PRIVATE - COMPARED | BESIDE
"""All that are made of streams that everybody may read."""


async def examined(
    url: str,
    *,
    environment: Mapping[str, str] | None = None,
    notes: list[str] | None = None,
    reader: str | None = None,
    rendered: str | None = None,
    origins: tuple[str, ...] = (),
) -> Examination:
    """What is found at a URL of streams; what is said at the terminal goes to `notes`."""
    said = [] if notes is None else notes
    target = first_target(url, environment or {})
    return await examine(target, said.append, ExaminationOptions(reader, rendered, origins))


async def examined_together(urls: Mapping[str, str]) -> dict[str, Examination]:
    """Examine several servers, some at a time, since an examination waits most of its own."""
    places = asyncio.Semaphore(8)

    async def one(url: str) -> Examination:
        async with places:
            return await examined(f"{url}/v1/stream")

    return dict(zip(urls, await asyncio.gather(*map(one, urls.values())), strict=True))


def of(examination: Examination, verdict: CheckVerdict) -> set[Check]:
    """The checks that ended so."""
    return {one.check for one in examination.findings if one.verdict is verdict}


def failures(examination: Examination) -> set[Check]:
    """The checks that failed."""
    return of(examination, CheckVerdict.FAIL)


def finding(examination: Examination, check: Check) -> Finding:
    """What one of the checks has found."""
    return next(one for one in examination.findings if one.check == check)


def saw(examination: Examination, check: Check) -> str:
    """What one of the checks has seen."""
    return finding(examination, check).saw


def names_of_streams(server: Headgate) -> list[str]:
    """The streams that a gateway has."""
    page = ask(server.admin_port, "GET", "/api/v1/streams?route=/v1/stream").json()
    return [row["name"] for row in page["rows"]]
