"""Runs and chats in Flask."""

from functools import partial

from flask import Blueprint, Request, Response, request

from headgate.sync.adapter import ThreadAdapter
from headgate.sync.answer import Answer
from headgate.web.chat_requests import MOST_BODY_BYTES, NOTHING, Incoming, Reply, View, once


def send(answer: Answer | Reply | None) -> Response:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or NOTHING
    return Response(reply.body, reply.status, reply.headers)


def _incoming(request: Request) -> Incoming[Request]:
    chat = (request.view_args or {}).get("chat", "")
    body = once(request.stream.read(MOST_BODY_BYTES + 1))
    return Incoming(request, request.method, chat, request.args, request.headers, body)


def _routes(views: list[View]) -> Blueprint:
    """Return the routes for `app.register_blueprint`; `request` is that of the thread."""
    blueprint = Blueprint("chats", __name__)
    for number, (path, methods, view) in enumerate(views):
        rule = path.replace("{chat}", "<chat>")
        blueprint.add_url_rule(rule, f"{number}", partial(view, request), methods=methods)
    return blueprint


_adapter = ThreadAdapter(_incoming, send, _routes)
resume = _adapter.resume
chat_router = _adapter.chat_router
