"""Answers of runs for aiohttp."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from headgate.runs.answer import Answer


async def send(request: web.Request, answer: Answer | None) -> web.StreamResponse:
    """Send the answer as it comes; 204 when there is none, so that the client stops asking."""
    if answer is None:
        return web.Response(status=204)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    async with aclosing(answer.body) as body:
        await response.prepare(request)
        async for piece in body:
            await response.write(piece)
    await response.write_eof()
    return response
