"""Chats for threads, each of whose answers is a run.

Made by `python -m scripts.sync_twins` from `headgate.chats.chats`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import headgate.chats.chats
import headgate.runs.runs
from headgate.errors import (
    check_runs,
)
from headgate.sync.runs import Runs
from headgate.sync.twins import Answering, ThreadChats, answer_of, in_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.chats.conversation import ChatHistory, ChatState
    from headgate.chats.entries import Trigger
    from headgate.runs.cursors import Cursor
    from headgate.sync.answer import Answer


class Chats(ThreadChats):
    """The chats below the URL of some `Runs`: their messages, and their answers as runs.

    With threads, the source of an answer is made and iterated in a thread of its own.

    Args:
        runs: The runs of the answers. Chats are deleted when their `ttl` is over: None keeps them.
        busy_after: Seconds for which a message waits for the end of the answer under way before it
            is refused.
    """

    def __init__(self, runs: Runs, *, busy_after: float = 3.0) -> None:
        check_runs(runs, Runs, "headgate.sync.Runs")
        super().__init__(
            headgate.chats.chats.Chats(runs._twin, busy_after=busy_after),
            lambda: headgate.chats.chats.Chats(runs._found(), busy_after=busy_after),
        )
        self.runs = runs

    def send(
        self,
        chat_id: str,
        message: Mapping[str, Any],
        answering: Answering,
        *,
        trigger: Trigger = "submit-message",
        user: object = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer a message of a page with a run, whose source `answering` returns.

        Args:
            chat_id: The id of the chat, which begins with its first message.
            message: A UI message of the AI SDK: of the user, or the assistant's with what the page
                has to say to its calls of tools. It takes the place of the message with its id.
            answering: A function that returns the source of the answer for a `Turn`.
            trigger: Why the page asks. `regenerate-message` asks anew for an answer that is there.
            user: The `user` of the turn.
            body: The `body` of the turn.

        Returns:
            The answer from its beginning. Where the same message comes twice, both have the same.

        Raises:
            Conflict: The newest answer is for another message, and goes on.
            Closed: The chat is being deleted.
            BadRequest: This is no message, or the chat does not have it.
            TooLarge: The message is larger than the server takes.
            Unavailable: The server is away.
        """
        return answer_of(
            self._call(
                lambda twin: twin.send(
                    chat_id, message, in_threads(answering), trigger=trigger, user=user, body=body
                )
            )
        )

    def resume(
        self, chat_id: str, after: int | Cursor | None = None, *, wait: float = 0.0
    ) -> Answer | None:
        """Answer a page that comes back with the newest answer of the chat.

        Args:
            chat_id: The id of the chat, or that of a run, as `send` has put it into the field
                `x-workflow-run-id`: then the answer is that run.
            after: How many chunks of the answer the page has. Without it the page has none, and
                gets an answer only while it goes on.
            wait: Seconds for which the next question is waited for, where no answer goes on.

        Returns:
            The answer; None where there is nothing that the page lacks.

        Raises:
            BadRequest: This is the id of neither.
            Unavailable: The server is away.
        """
        twin = self._call(lambda twin: twin.resume(chat_id, after, wait=wait))
        return None if twin is None else answer_of(twin)

    def stop(self, chat_id: str) -> bool:
        """Stop the newest answer of the chat, wherever it is; return False if none goes on."""
        return self._call(lambda twin: twin.stop(chat_id))

    def history(self, chat_id: str) -> ChatHistory:
        """Return the messages of a chat, without the answer under way, which `resume` gives.

        A chat that has not begun has none. Raises Unavailable if the server is away.
        """
        return self._call(lambda twin: twin.history(chat_id))

    def state(self, chat_id: str) -> ChatState | None:
        """Return what has become of the newest question of a chat; None if nothing was asked."""
        return self._call(lambda twin: twin.state(chat_id))

    def delete(self, chat_id: str) -> bool:
        """Stop the answer that goes on, and delete the chat; return False if there is none.

        From the beginning of it on, the chat takes no question. Where it was interrupted, do it
        again.
        """
        return self._call(lambda twin: twin.delete(chat_id))
