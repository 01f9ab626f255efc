"""Answers of runs for Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response
from flask import request as current

from headgate.chats.requests import Reply
from headgate.sync.chat_requests import MOST_READ, ChatRequests
from headgate.sync.resuming import resumed

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Request

    from headgate.sync.answer import Answer
    from headgate.sync.chats import Chats
    from headgate.sync.runs import Runs
    from headgate.sync.threads import Answering


def send(answer: Answer | None) -> Response:
    """Send an answer as it comes.

    Args:
        answer: The answer of a run; None is sent as 204, so that the client stops asking.
    """
    if answer is None:
        return Response(status=204)
    return Response(answer.body, answer.status, answer.headers)


def resume(
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
        query, headers = request.args, request.headers
        answer = resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return Response(f"{error}", 400, mimetype="text/plain")
    return send(answer)


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Callable[[Request, str], object],
    path: str = "/api/chat",
) -> Blueprint:
    """Return the routes by which a page uses its chats, for `app.register_blueprint`.

    Args:
        chats: The chats of the application.
        answering: A function that returns the source of an answer for a `Turn`.
        authorize: A function of each request and the id of its chat. It returns
            the user, for `Turn.user`, or True; a false value refuses the request with 403.
        path: The path of the routes, which the page has as its `api`.
    """
    requests = ChatRequests(chats, answering, authorize)
    routes = Blueprint("chats", __name__, url_prefix=path)

    @routes.post("")
    def ask() -> Response:
        return _response(requests.send(current, current.stream.read(MOST_READ)))

    @routes.get("/<chat>")
    def history(chat: str) -> Response:
        return _response(requests.history(current, chat, current.args))

    @routes.get("/<chat>/stream")
    def resume(chat: str) -> Response:
        return _response(requests.resume(current, chat, current.args, current.headers))

    @routes.post("/<chat>/stop")
    def stop(chat: str) -> Response:
        return _response(requests.stop(current, chat))

    @routes.delete("/<chat>")
    def delete(chat: str) -> Response:
        return _response(requests.delete(current, chat))

    return routes


def _response(answer: Answer | Reply) -> Response:
    if not isinstance(answer, Reply):
        return send(answer)
    return Response(answer.body, answer.status, answer.headers)
