"""Answers of runs for Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response

from headgate.sync.resuming import resumed

if TYPE_CHECKING:
    from flask import Request

    from headgate.sync.answer import Answer
    from headgate.sync.runs import Runs


def send(answer: Answer | None) -> Response:
    """Send the answer as it comes; 204 when there is none, so that the client stops asking."""
    if answer is None:
        return Response(status=204)
    return Response(answer.body, answer.status, answer.headers)


def resume(
    request: Request, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> Response:
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
        query, headers = request.args, request.headers
        answer = resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return Response(f"{error}\n", 400, mimetype="text/plain")
    return send(answer)
