"""Runs and chats in Starlette and FastAPI."""

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headgate.runs import Answer
from headgate.web.adapter import Adapter
from headgate.web.chat_requests import NOTHING, Incoming, Reply, View


def send(answer: Answer | Reply | None) -> Response:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or NOTHING
    kind: type[Response] = Response if isinstance(reply, Reply) else StreamingResponse
    return kind(reply.body, reply.status, reply.headers)


def _incoming(request: Request) -> Incoming[Request]:
    chat, query = request.path_params.get("chat", ""), request.query_params
    return Incoming(request, request.method, chat, query, request.headers, request.stream())


def _routes(views: list[View]) -> list[Route]:
    return [Route(path, view, methods=methods) for path, methods, view in views]


_adapter = Adapter(_incoming, send, _routes)
resume = _adapter.resume
chat_router = _adapter.chat_router
