"""Runs and chats in Django's synchronous views."""

from django.http.response import HttpResponseBase

from headgate.sync.adapter import ThreadAdapter
from headgate.sync.answer import Answer
from headgate.web import django
from headgate.web.chat_requests import Reply


def send(answer: Answer | Reply | None) -> HttpResponseBase:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    return django.send(answer)  # type: ignore[arg-type]  # Django takes either kind of body


_adapter = ThreadAdapter(django.incoming, send, django.routes)
resume = _adapter.resume
chat_router = _adapter.chat_router
