"""The exceptions for messages that a chat does not accept."""

from __future__ import annotations

from headgate.errors import StreamError


class ChatBusy(StreamError):
    """A chat whose newest answer goes on, so that it takes no other message yet."""


class BadRequest(ValueError):
    """A page's request without a valid message or id, or about what the chat does not have."""


def check_runs(runs: object, kind: type, name: str) -> None:
    """Raise TypeError if `runs` are not of the kind that is called `name`, such as a URL."""
    if not isinstance(runs, kind):
        raise TypeError(f"Chats takes {name}, as in Chats(Runs(URL)), and not {type(runs)}")
