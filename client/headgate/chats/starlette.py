"""The routes of chats for Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from headgate.chats.requests import Reply, Requests
from headgate.runs.starlette import send

if TYPE_CHECKING:
    from starlette.requests import Request

    from headgate.chats.chats import Chats
    from headgate.chats.requests import Authorize
    from headgate.chats.turn import Answering
    from headgate.runs import Answer


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Authorize[Request],
    path: str = "/api/chat",
) -> list[Route]:
    """Return the routes by which a page uses its chats, for `Starlette(routes=...)`.

    Args:
        chats: The chats of the application.
        answering: A function that returns the source of an answer for a `Turn`.
        authorize: A function, which may be async, of each request and the id of its chat. It
            returns the user, for `Turn.user`, or True; a false value refuses the request with 403.
        path: The path of the routes, which the page has as its `api`.
    """
    requests = Requests(chats, answering, authorize)

    async def ask(request: Request) -> Response:
        return _response(await requests.send(request, request.stream()))

    async def history(request: Request) -> Response:
        return _response(await requests.history(request, _chat(request), request.query_params))

    async def resume(request: Request) -> Response:
        query, headers = request.query_params, request.headers
        return _response(await requests.resume(request, _chat(request), query, headers))

    async def stop(request: Request) -> Response:
        return _response(await requests.stop(request, _chat(request)))

    async def delete(request: Request) -> Response:
        return _response(await requests.delete(request, _chat(request)))

    one = f"{path}/{{chat}}"
    return [
        Route(path, ask, methods=["POST"]),
        Route(one, history, methods=["GET"]),
        Route(one, delete, methods=["DELETE"]),
        Route(f"{one}/stream", resume, methods=["GET"]),
        Route(f"{one}/stop", stop, methods=["POST"]),
    ]


def _chat(request: Request) -> str:
    return str(request.path_params["chat"])


def _response(answer: Answer | Reply) -> Response:
    if not isinstance(answer, Reply):
        return send(answer)
    return Response(answer.body, status_code=answer.status, headers=answer.headers)
