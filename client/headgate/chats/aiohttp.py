"""The routes of chats for aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from headgate.chats.requests import Reply, Requests
from headgate.runs.aiohttp import send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.chats.chats import Chats
    from headgate.chats.requests import Authorize
    from headgate.chats.turn import Answering
    from headgate.runs import Answer


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Authorize[web.Request],
    path: str = "/api/chat",
) -> list[web.RouteDef]:
    """Return the routes by which a page uses its chats, for `app.add_routes`.

    Args:
        chats: The chats of the application.
        answering: A function that returns the source of an answer for a `Turn`.
        authorize: A function, which may be async, of each request and the id of its chat. It
            returns the user, for `Turn.user`, or True; a false value refuses the request with 403.
        path: The path of the routes, which the page has as its `api`.
    """
    requests = Requests(chats, answering, authorize)

    async def ask(request: web.Request) -> web.StreamResponse:
        return await _response(request, await requests.send(request, _pieces(request)))

    async def history(request: web.Request) -> web.StreamResponse:
        answer = await requests.history(request, _chat(request), request.query)
        return await _response(request, answer)

    async def resume(request: web.Request) -> web.StreamResponse:
        query, headers = request.query, request.headers
        answer = await requests.resume(request, _chat(request), query, headers)
        return await _response(request, answer)

    async def stop(request: web.Request) -> web.StreamResponse:
        return await _response(request, await requests.stop(request, _chat(request)))

    async def delete(request: web.Request) -> web.StreamResponse:
        return await _response(request, await requests.delete(request, _chat(request)))

    one = f"{path}/{{chat}}"
    return [
        web.post(path, ask),
        web.get(one, history),
        web.delete(one, delete),
        web.get(f"{one}/stream", resume),
        web.post(f"{one}/stop", stop),
    ]


def _chat(request: web.Request) -> str:
    return request.match_info["chat"]


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body; 400 for one that is not encoded as its head says."""
    try:
        async for piece in request.content.iter_any():
            yield piece
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text="the body is not encoded as the request says") from error


async def _response(request: web.Request, answer: Answer | Reply) -> web.StreamResponse:
    if not isinstance(answer, Reply):
        return await send(request, answer)
    return web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)
