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
    """Send the answer as it comes; 204 when there is none, so that the client stops asking."""
    if answer is None:
        return Response(status_code=204)
    return StreamingResponse(answer.body, status_code=answer.status, headers=answer.headers)


async def resume(
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
        query, headers = request.query_params, request.headers
        answer = await resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return PlainTextResponse(f"{error}\n", status_code=400)
    return send(answer)
