"""Runs and chats in Django's asynchronous views."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.urls import path as url_path

from headgate.runs import Answer
from headgate.web.adapter import Adapter
from headgate.web.reply import MOST_BODY_BYTES, Incoming, Reply, once


def response(answer: Any) -> HttpResponseBase:  # noqa: ANN401 - a Reply, or either Answer
    """Return the response of an answer, for asyncio or for threads; 204 for None."""
    reply = answer or Reply(204)
    kind = HttpResponse if isinstance(reply, Reply) else StreamingHttpResponse
    return kind(reply.body, status=reply.status, headers={**reply.headers})


def send(answer: Answer | Reply | None) -> HttpResponseBase:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    return response(answer)


async def _respond(_: HttpRequest, answer: Answer | Reply | None) -> HttpResponseBase:
    return response(answer)


def incoming(request: HttpRequest) -> Incoming[HttpRequest]:
    """Return what the rules of runs and chats take of a request."""
    chat = request.resolver_match.kwargs.get("chat", "") if request.resolver_match else ""
    query, headers = request.GET.dict(), request.headers
    body = once(request.read(MOST_BODY_BYTES + 1))  # `request.body` would refuse a long one
    return Incoming(request, request.method or "", chat, query, headers, body)


def route(path: str, _: list[str], view: Callable[..., Any]) -> URLPattern:
    """Return the pattern of a view of chats."""
    return url_path(path.removeprefix("/").replace("{chat}", "<chat>"), view)


_adapter: Adapter[HttpRequest, HttpResponseBase, URLPattern] = Adapter(incoming, _respond, route)
resume = _adapter.resume
chat_router = _adapter.chat_router
