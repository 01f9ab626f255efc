"""The input of an answer: the chat with the new message, its user and the request's body."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.chats.entries import Message


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a chat: all that was said, with the question as the last message.

    `run` is the id of the run that the answer is, for `runs.stopped`. `user` is what the
    application's `authorize` gave, and `body` all that the page has sent.
    """

    chat: str
    run: str
    messages: list[Message]
    user: Any = None
    body: Mapping[str, Any] = field(default_factory=dict)


# Makes the source of a run, of whatever the format `ai-sdk` takes.
Answering: TypeAlias = Callable[[Turn], AsyncIterable[object]]
