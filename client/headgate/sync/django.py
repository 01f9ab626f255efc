"""Answers of runs for Django's synchronous views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.runs.django import refused, send
from headgate.sync.resuming import resumed

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from headgate.sync.runs import Runs

__all__ = ["resume", "send"]


def resume(
    request: HttpRequest, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> HttpResponseBase:
    """Answer a client that comes back: from its cursor on, also when the run has ended.

    Args:
        request: The request, whose URL or fields may hold a cursor.
        runs: Where the run is looked for.
        run_id: The id of the run.
        only_active: Whether a client without a cursor gets the run only while it is under way.
        wait: Seconds for which a run is waited for that has not been started yet.

    Returns:
        The answer; 204 when there is nothing for the client, 400 for a cursor or an id that is
        none.
    """
    try:
        query, headers = request.GET.dict(), request.headers
        answer = resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return refused(error)
    return send(answer)
