"""What a chat does not take."""

from __future__ import annotations

from headgate.errors import StreamError


class ChatBusy(StreamError):
    """The chat has not come to the end of its newest answer, and takes no other message yet."""


class BadRequest(ValueError):
    """A page has sent no message, no id, or something about what the chat does not have."""
