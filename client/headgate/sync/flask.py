"""Runs and chats in Flask."""

from collections.abc import Callable
from typing import TypeAlias

from flask import Blueprint, Request, Response, request

from headgate.sync.adapter import ThreadAdapter
from headgate.sync.answer import Answer
from headgate.sync.chats import Chats
from headgate.sync.threads import Answering
from headgate.web.reply import MOST_BODY_BYTES, Incoming, Reply, once

Rule: TypeAlias = tuple[str, list[str], Callable[..., Response]]


def send(answer: Answer | Reply | None) -> Response:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or Reply(204)
    return Response(reply.body, reply.status, reply.headers)


def _incoming(request: Request) -> Incoming[Request]:
    chat, body = (request.view_args or {}).get("chat", ""), request.stream.read(MOST_BODY_BYTES + 1)
    return Incoming(request, request.method, chat, request.args, request.headers, once(body))


def _route(path: str, methods: list[str], view: Callable[..., Response]) -> Rule:
    def viewed(**_: str) -> Response:
        return view(request._get_current_object())  # type: ignore[attr-defined]

    return path.replace("{chat}", "<chat>"), methods, viewed


_adapter = ThreadAdapter(_incoming, send, _route)
resume = _adapter.resume


def chat_router(
    chats: Chats,
    answering: Answering,
    *,
    authorize: Callable[[Request, str], object],
    path: str = "/api/chat",
) -> Blueprint:
    """Return the routes of chats, for `app.register_blueprint`."""
    blueprint = Blueprint("chats", __name__)
    routes = _adapter.chat_router(chats, answering, authorize=authorize, path=path)
    for number, (rule, methods, view) in enumerate(routes):
        blueprint.add_url_rule(rule, f"{number}", view, methods=methods)
    return blueprint
