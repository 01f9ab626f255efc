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
    """A question of a chat, from which an application makes the source of its answer.

    Attributes:
        chat_id: The id of the chat.
        run_id: The id of the run that the answer is, for `runs.stopped`.
        messages: The UI messages of the chat; the last one is the question.
        user: The result of the application's `authorize`.
        body: The whole JSON object that the page has sent.
    """

    chat_id: str
    run_id: str
    messages: list[Message]
    user: Any = None
    body: Mapping[str, Any] = field(default_factory=dict)


Answering: TypeAlias = Callable[[Turn], AsyncIterable[object]]
"""A function that returns the source of an answer, which yields what the format `ai-sdk` takes."""
