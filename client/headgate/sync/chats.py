"""Chats for threads, each of whose answers is a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import override

from headgate import chats as for_asyncio
from headgate.chats.chats import MOST_MESSAGES
from headgate.chats.turn import Turn
from headgate.errors import check_runs
from headgate.sync.answer import answer_of
from headgate.sync.runs import Runs
from headgate.sync.sources import ThreadSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    import headgate.runs as for_asyncio_runs
    from headgate.chats import ChatState, Page
    from headgate.chats.entries import Trigger
    from headgate.chats.turn import Answering as AsyncAnswering
    from headgate.runs.cursors import Cursor
    from headgate.sync.answer import Answer
    from headgate.sync.runs import InProcess

Answering: TypeAlias = Callable[[Turn], Iterable[object]]
"""A function that returns the source of an answer, which is iterated in a thread of its own."""


class Chats:
    """The chats below the URL of some `Runs`, for threads.

    Args:
        runs: The runs of the answers. Chats are deleted when their `ttl` is over: None keeps them.
        busy_after: Seconds for which a message waits for the end of the answer under way before it
            is refused.
    """

    def __init__(self, runs: Runs, *, busy_after: float = 3.0) -> None:
        check_runs(runs, Runs, "headgate.sync.Runs")
        self.runs = runs
        self._make = partial(for_asyncio.Chats, busy_after=busy_after)
        self._make(runs.unopened)  # ValueError for what is no such time

    @override
    def __repr__(self) -> str:
        return f"headgate.sync.Chats({self.runs!r})"

    def send(
        self,
        chat: str,
        message: Mapping[str, Any],
        answering: Answering,
        *,
        trigger: Trigger = "submit-message",
        user: object = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer a message of a page with a run, whose source `answering` returns.

        Args:
            chat: The id of the chat, which begins with its first message.
            message: A UI message of the AI SDK. It takes the place of the message with its id.
            answering: A function that returns the source of the answer for a `Turn`; it is called
                in the thread of the source.
            trigger: Why the page asks. `regenerate-message` asks anew for an answer that is there.
            user: The `user` of the turn.
            body: The `body` of the turn.

        Returns:
            The answer from its beginning. Where the same message comes twice, both have the same.

        Raises:
            Conflict: The newest answer is for another message, and goes on.
            Closed: The chat is being deleted.
            BadRequest: The message is invalid, or the chat does not have it.
            TooLarge: The message is larger than the server accepts.
            Unavailable: The server is away.
        """
        here = self.runs.in_process()
        source = in_threads(here, answering)
        send = self._make(here.runs).send
        answer = here.thread.call(
            send, chat, message, source, trigger=trigger, user=user, body=body
        )
        return answer_of(here.thread, answer)

    def resume(
        self, chat: str, after: int | Cursor | None = None, *, wait: float = 0.0
    ) -> Answer | None:
        """Answer a page that comes back with the newest answer of the chat.

        Args:
            chat: The id of the chat, or that of a run, whose answer is returned then.
            after: Number of chunks of the answer that the page has. Without it the page has none,
                and gets an answer only while it goes on.
            wait: Seconds to wait for the next question if no answer goes on.

        Returns:
            The answer; None if there is nothing that the page lacks.

        Raises:
            BadRequest: The id is neither that of a chat nor that of a run.
            Unavailable: The server is away.
        """
        here = self.runs.in_process()
        answer = here.thread.call(self._make(here.runs).resume, chat, after, wait=wait)
        return None if answer is None else answer_of(here.thread, answer)

    def stop(self, chat: str) -> bool:
        """Stop the newest answer of the chat, wherever it is produced; False if none goes on."""
        here = self.runs.in_process()
        return here.thread.call(self._make(here.runs).stop, chat)

    def history(self, chat: str, *, limit: int = MOST_MESSAGES, before: str | None = None) -> Page:
        """Return the last messages of a chat, without the answer under way, which `resume` gives.

        Args:
            chat: The id of the chat; one that has not begun has no messages.
            limit: Number of messages at most.
            before: The id of a message: only those before it are returned.

        Raises:
            BadRequest: The chat has no message with the id `before`, or not any more.
            Unavailable: The server is away.
        """
        here = self.runs.in_process()
        return here.thread.call(self._make(here.runs).history, chat, limit=limit, before=before)

    def state(self, chat: str) -> ChatState | None:
        """Return what has become of the newest question of a chat; None if nothing was asked."""
        here = self.runs.in_process()
        return here.thread.call(self._make(here.runs).state, chat)

    def states(self, chats: Iterable[str]) -> dict[str, ChatState | None]:
        """Return what `state` does for each of these chats, by their ids, in their order."""
        here = self.runs.in_process()
        return here.thread.call(self._make(here.runs).states, chats)

    def delete(self, chat: str) -> bool:
        """Stop the answer that goes on, and delete the chat with its answers; False if none is.

        From the beginning of it on, the chat takes no question. If it was interrupted, call it
        again.
        """
        here = self.runs.in_process()
        return here.thread.call(self._make(here.runs).delete, chat)

    def for_requests(self, runs: for_asyncio_runs.Runs) -> for_asyncio.Chats:
        """Return the chats that the loop answers requests by."""
        return self._make(runs)


def in_threads(here: InProcess, answering: Answering) -> AsyncAnswering:
    """Return what gives the same sources to an event loop, each iterated in a thread."""

    def source_of(turn: Turn) -> ThreadSource:
        items = here.sources[turn.run] = ThreadSource((), here.thread)
        items.start_late(partial(answering, turn), here.threads.add, here.threads.discard)
        return items

    return source_of
