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
    from headgate.sync.chats import Answering, Chats
    from headgate.sync.runs import Runs


def send(answer: Answer | None) -> Response:
    """Send the answer as it comes; 204 when there is none, so that the client stops asking."""
    if answer is None:
        return Response(status=204)
    return Response(answer.body, answer.status, answer.headers)


def resume(
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
        query, headers = request.args, request.headers
        answer = resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return Response(f"{error}\n", 400, mimetype="text/plain")
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
        chats: Where the chats are kept.
        answering: Gives the source of an answer, of a `Turn`.
        authorize: Is called with each request and the id of its chat. It gives who asks, for
            `Turn.user`, or True; anything false refuses the request with 403.
        path: Where the page looks for them, as its `api`.
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
