"""Runs and chats in aiohttp."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from headgate.errors import StreamError
from headgate.runs import Answer
from headgate.web.adapter import Adapter
from headgate.web.reply import Incoming, Reply

log = logging.getLogger("headgate.runs")


async def send(request: web.Request, answer: Answer | Reply | None) -> web.StreamResponse:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or Reply(204)
    if isinstance(reply, Reply):
        return web.Response(status=reply.status, body=reply.body or None, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    async with contextlib.aclosing(reply.body) as body:
        with contextlib.suppress(ConnectionResetError):  # the client has disconnected
            await response.prepare(request)
            try:
                async for piece in body:
                    await response.write(piece)
            except StreamError as error:
                log.info("a response is cut: %s", error)
                if request.transport is not None:
                    request.transport.close()
            await response.write_eof()
    return response


def _incoming(request: web.Request) -> Incoming[web.Request]:
    chat, query = request.match_info.get("chat", ""), request.query
    return Incoming(request, request.method, chat, query, request.headers, _pieces(request))


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body; respond 400 to one that is not encoded as its head says."""
    try:
        async for piece in request.content.iter_any():
            yield piece
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text="the body is not encoded as the request says") from error


def _route(path: str, _: list[str], view: Callable[..., Any]) -> web.RouteDef:
    return web.route("*", path, view)


_adapter: Adapter[web.Request, web.StreamResponse, web.RouteDef] = Adapter(_incoming, send, _route)
resume = _adapter.resume
chat_router = _adapter.chat_router
