"""Answers of runs for aiohttp."""

from __future__ import annotations

import contextlib
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from headgate.errors import StreamError
from headgate.runs.resuming import resumed

if TYPE_CHECKING:
    from headgate.runs.answer import Answer
    from headgate.runs.runs import Runs

log = logging.getLogger("headgate.runs")


async def send(request: web.Request, answer: Answer | None) -> web.StreamResponse:
    """Send an answer as it comes.

    Args:
        request: The request that is answered.
        answer: The answer of a run; None is sent as 204, so that the client stops asking.
    """
    if answer is None:
        return web.Response(status=204)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    async with aclosing(answer.body) as body:
        # Its reader has gone, which ends the reading and is nothing that has to be logged.
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            try:
                async for piece in body:
                    await response.write(piece)
            except StreamError as error:
                _cut(request, error)
            await response.write_eof()
    return response


def _cut(request: web.Request, error: StreamError) -> None:
    """Close the connection without the end of the body, so that it is not taken for whole."""
    log.info("an answer is cut: %s", error)
    if request.transport is not None:
        request.transport.close()


async def resume(
    request: web.Request, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> web.StreamResponse:
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
        query, headers = request.query, request.headers
        answer = await resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return web.Response(status=400, text=f"{error}")
    return await send(request, answer)
