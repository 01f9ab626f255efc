"""Runs and chats in Django's synchronous views."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern

from headgate.sync.adapter import ThreadAdapter
from headgate.sync.answer import Answer
from headgate.web.django import incoming, response, route
from headgate.web.reply import Reply


def send(answer: Answer | Reply | None) -> HttpResponseBase:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    return response(answer)


_adapter: ThreadAdapter[HttpRequest, HttpResponseBase, URLPattern] = ThreadAdapter(
    incoming, send, route
)
resume = _adapter.resume
chat_router = _adapter.chat_router
