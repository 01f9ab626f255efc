"""Runs and chats in Django's synchronous views."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern

from headgate.sync.adapter import ThreadAdapter
from headgate.web.django import incoming, route, send

__all__ = ["chat_router", "resume", "send"]

_adapter: ThreadAdapter[HttpRequest, HttpResponseBase, URLPattern] = ThreadAdapter(
    incoming, send, route
)
resume = _adapter.resume
chat_router = _adapter.chat_router
