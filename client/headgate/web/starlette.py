"""Runs and chats in Starlette and FastAPI."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headgate.runs import Answer
from headgate.web.adapter import Adapter
from headgate.web.reply import Incoming, Reply


def send(answer: Answer | Reply | None) -> Response:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or Reply(204)
    kind: type[Response] = Response if isinstance(reply, Reply) else StreamingResponse
    return kind(reply.body, reply.status, reply.headers)


async def _respond(_: Request, answer: Answer | Reply | None) -> Response:
    return send(answer)


def _incoming(request: Request) -> Incoming[Request]:
    chat, query = request.path_params.get("chat", ""), request.query_params
    return Incoming(request, request.method, chat, query, request.headers, request.stream())


def _route(path: str, methods: list[str], view: Callable[..., Any]) -> Route:
    return Route(path, view, methods=methods)


_adapter: Adapter[Request, Response, Route] = Adapter(_incoming, _respond, _route)
resume = _adapter.resume
chat_router = _adapter.chat_router
