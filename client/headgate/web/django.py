"""Runs and chats in Django's views, asynchronous ones here."""

from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.urls import path as url_path

from headgate.runs import Answer
from headgate.web.adapter import Adapter
from headgate.web.chat_requests import MOST_BODY_BYTES, NOTHING, Incoming, Reply, View, once


def send(answer: Answer | Reply | None) -> HttpResponseBase:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply: Any = answer or NOTHING
    kind = HttpResponse if isinstance(reply, Reply) else StreamingHttpResponse
    return kind(reply.body, status=reply.status, headers={**reply.headers})


def incoming(request: HttpRequest) -> Incoming[HttpRequest]:
    """Return what the rules of runs and chats take of a request."""
    chat = request.resolver_match.kwargs.get("chat", "") if request.resolver_match else ""
    body = once(request.read(MOST_BODY_BYTES + 1))  # `request.body` would refuse a long one
    return Incoming(request, request.method or "", chat, request.GET.dict(), request.headers, body)


def routes(views: list[View]) -> list[URLPattern]:
    """Return the patterns of the views of chats."""
    return [url_path(it[0].lstrip("/").replace("{chat}", "<chat>"), it[2]) for it in views]


_adapter = Adapter(incoming, send, routes)
resume = _adapter.resume
chat_router = _adapter.chat_router
