"""Answers of runs for Starlette and FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from headgate.runs.resuming import resumed

if TYPE_CHECKING:
    from starlette.requests import Request

    from headgate.runs.answer import Answer
    from headgate.runs.runs import Runs


def send(answer: Answer | None) -> Response:
    """Send an answer as it comes.

    Args:
        answer: The answer of a run; None is sent as 204, so that the client stops asking.
    """
    if answer is None:
        return Response(status_code=204)
    return StreamingResponse(answer.body, status_code=answer.status, headers=answer.headers)


async def resume(
    request: Request, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> Response:
    """Answer a client that comes back: from its cursor on, also when the run has ended.

    Args:
        request: The request, whose URL or fields may hold a cursor.
        runs: The runs of the application.
        run_id: The id of the run.
        only_active: Whether a client without a cursor gets the run only while it is produced.
        wait: Seconds to wait for a run that has not been started yet.

    Returns:
        The response: 204 if there is nothing for the client, 400 for an invalid cursor or id.
    """
    try:
        query, headers = request.query_params, request.headers
        answer = await resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return PlainTextResponse(f"{error}", status_code=400)
    return send(answer)
