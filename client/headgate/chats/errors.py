"""The exceptions for messages that a chat does not accept."""

from __future__ import annotations

from headgate.errors import StreamError


class ChatBusy(StreamError):
    """A chat whose newest answer goes on, so that it takes no other message yet."""


class BadRequest(ValueError):
    """A page's request without a valid message or id, or about what the chat does not have."""
