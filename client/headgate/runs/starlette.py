"""Answers of runs for Starlette and FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from starlette.requests import Request

    from headgate.runs.answer import Answer
    from headgate.runs.runs import Runs


def send(answer: Answer | None) -> Response:
    """Send the answer as it comes; 204 when there is none, so that the client stops asking."""
    if answer is None:
        return Response(status_code=204)
    return StreamingResponse(answer.body, status_code=answer.status, headers=answer.headers)


async def resume(
    request: Request, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> Response:
    """Answer a client that comes back: from its cursor on, also when the run has ended.

    A client without a cursor gets the run from its beginning, if it is under way; with
    `only_active=False` also if it has ended. A run that has not been started is waited for, for
    `wait` seconds.
    """
    try:
        after = cursor(request.query_params, request.headers)
        only_active = only_active and after is None
        answer = await runs.follow(run_id, after, only_active=only_active, wait=wait)
    except ValueError as error:
        return PlainTextResponse(f"{error}\n", status_code=400)
    return send(answer)
