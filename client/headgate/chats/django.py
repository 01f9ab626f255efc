"""The routes of chats for Django, whose server is one of ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseNotAllowed
from django.urls import path as url_path

from headgate.chats.requests import Reply, Requests
from headgate.runs.django import AnswerLike, send

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from typing import Any

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    from headgate.chats.chats import Chats
    from headgate.chats.requests import Authorize
    from headgate.chats.turn import Answering
    from headgate.runs import Answer

PIECE_BYTES = 1 << 16  # of a body that is too long, little more than the bound is in memory


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Authorize[HttpRequest],
    path: str = "/api/chat",
) -> list[URLPattern]:
    """Return the routes by which a page uses its chats, for `urlpatterns`.

    Args:
        chats: The chats of the application.
        answering: A function that returns the source of an answer for a `Turn`.
        authorize: A function, which may be async, of each request and the id of its chat. It
            returns the user, for `Turn.user`, or True; a false value refuses the request with 403.
        path: The path of the routes, which the page has as its `api`.
    """
    requests = Requests(chats, answering, authorize)

    async def ask(request: HttpRequest) -> Answer | Reply:
        return await requests.send(request, _pieces(request))

    async def history(request: HttpRequest, chat: str) -> Answer | Reply:
        return await requests.history(request, chat, request.GET.dict())

    async def resume(request: HttpRequest, chat: str) -> Answer | Reply:
        query, headers = request.GET.dict(), request.headers
        return await requests.resume(request, chat, query, headers)

    base = path.removeprefix("/")
    return [
        url_path(base, _by_method(POST=ask)),
        url_path(f"{base}/<chat>", _by_method(GET=history, DELETE=requests.delete)),
        url_path(f"{base}/<chat>/stream", _by_method(GET=resume)),
        url_path(f"{base}/<chat>/stop", _by_method(POST=requests.stop)),
    ]


def _by_method(
    **answers: Callable[..., Awaitable[Answer | Reply]],
) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
    """Return a view that answers each of these methods."""

    async def view(request: HttpRequest, **where: str) -> HttpResponseBase:
        answer = answers.get(request.method or "")
        if answer is None:
            return HttpResponseNotAllowed([*answers])
        return response(await answer(request, **where))

    return view


async def _pieces(request: HttpRequest) -> AsyncGenerator[bytes]:
    """Yield the body. Django has it all, but would refuse one that a chat still takes."""
    while piece := request.read(PIECE_BYTES):
        yield piece


def response(answer: AnswerLike | Reply) -> HttpResponseBase:
    """Return the response that an answer is."""
    if not isinstance(answer, Reply):
        return send(answer)
    return HttpResponse(answer.body, status=answer.status, headers={**answer.headers})
