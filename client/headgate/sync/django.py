"""Answers of runs for Django's synchronous views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponseNotAllowed
from django.urls import path as url_path

from headgate.chats.django import response
from headgate.runs.django import refused, send
from headgate.sync.chat_requests import MOST_READ, ChatRequests
from headgate.sync.resuming import resumed

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    from headgate.chats.requests import Reply
    from headgate.sync.answer import Answer
    from headgate.sync.chats import Chats
    from headgate.sync.runs import Runs
    from headgate.sync.threads import Answering

__all__ = ["chat_router", "resume", "send"]


def resume(
    request: HttpRequest, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> HttpResponseBase:
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
        query, headers = request.GET.dict(), request.headers
        answer = resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return refused(error)
    return send(answer)


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Callable[[HttpRequest, str], object],
    path: str = "/api/chat",
) -> list[URLPattern]:
    """Return the routes by which a page uses its chats, for `urlpatterns`.

    Args:
        chats: The chats of the application.
        answering: A function that returns the source of an answer for a `Turn`.
        authorize: A function of each request and the id of its chat. It returns
            the user, for `Turn.user`, or True; a false value refuses the request with 403.
        path: The path of the routes, which the page has as its `api`.
    """
    requests = ChatRequests(chats, answering, authorize)

    def ask(request: HttpRequest) -> Answer | Reply:
        return requests.send(request, request.read(MOST_READ))

    def history(request: HttpRequest, chat: str) -> Answer | Reply:
        return requests.history(request, chat, request.GET.dict())

    def resume(request: HttpRequest, chat: str) -> Answer | Reply:
        return requests.resume(request, chat, request.GET.dict(), request.headers)

    base = path.removeprefix("/")
    return [
        url_path(base, _by_method(POST=ask)),
        url_path(f"{base}/<chat>", _by_method(GET=history, DELETE=requests.delete)),
        url_path(f"{base}/<chat>/stream", _by_method(GET=resume)),
        url_path(f"{base}/<chat>/stop", _by_method(POST=requests.stop)),
    ]


def _by_method(**answers: Callable[..., Answer | Reply]) -> Callable[..., HttpResponseBase]:
    """Return a view that answers each of these methods."""

    def view(request: HttpRequest, **where: str) -> HttpResponseBase:
        answer = answers.get(request.method or "")
        if answer is None:
            return HttpResponseNotAllowed([*answers])
        return response(answer(request, **where))

    return view
