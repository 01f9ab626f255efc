"""The questions and messages of a chat, read from the entries of its stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from headgate import following
from headgate.chats.entries import Answered, Question, decoded, with_results
from headgate.errors import ABSENT
from headgate.names import BEGINNING
from headgate.records import RunState
from headgate.runs.sources import RunSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headgate.chats.entries import Message, Trigger
    from headgate.records import Status
    from headgate.stream_requests import StreamRequests

WHOLE = {"finished", "stopped"}  # statuses of answers that are as they were wanted
NEVER_BEGUN = RunState("failed", "its answer was never begun")


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


Answering: TypeAlias = Callable[[Turn], RunSource]
"""A function that returns the source of an answer, which yields what the format `ai-sdk` takes."""


@dataclass(frozen=True, slots=True)
class ChatState:
    """The state of a question of a chat.

    Attributes:
        run_id: The id of the run that answers it.
        status: `active` while the run is produced, then how it ended.
        error: The reason, in a sentence, if the run failed or is orphaned.
        asked_at: The moment of the question, in seconds since 1970.
    """

    run_id: str
    status: Status
    error: str | None
    asked_at: float


@dataclass(frozen=True, slots=True)
class ChatHistory:
    """The messages of a chat.

    Attributes:
        messages: The UI messages, the oldest first.
        states: The states of the answers, by the ids of the messages that were asked.
    """

    messages: list[Message]
    states: dict[str, ChatState]


@dataclass
class Conversation:
    """The questions of a chat, and the answers that are known, by their runs."""

    questions: list[Question] = field(default_factory=list)
    answers: dict[str, Answered] = field(default_factory=dict)
    offset: str = BEGINNING  # after what is known
    newest_run: RunState | None = None  # of the newest question, while no end of it is recorded

    def take(self, entries: Iterable[Question | Answered]) -> None:
        """Add entries, in their order."""
        for entry in entries:
            if isinstance(entry, Question):
                self.questions.append(entry)
            else:
                self.answers[entry.run_id] = entry

    @property
    def newest(self) -> Question | None:
        """The question that was asked last."""
        return self.questions[-1] if self.questions else None

    @property
    def open_question(self) -> Question | None:
        """The newest question, if no end of its run is recorded."""
        newest = self.newest
        return None if newest is None or newest.run_id in self.answers else newest

    def unanswered(self) -> list[Question]:
        """Return the questions of which no end of the run is recorded."""
        return [each for each in self.questions if each.run_id not in self.answers]

    def repeats(self, trigger: Trigger, message: Message) -> bool:
        """Return whether this is the newest question again, as a double click asks it.

        So is a message of the assistant's that says nothing new to its calls of tools. One that has
        its answer may be asked for another answer; one whose answer failed, too.
        """
        newest = self.newest
        if newest is None or newest.trigger != trigger:
            return False
        sent = newest.message
        known = self._assistant_message(sent["id"]) if newest.continued else sent
        if message != known:
            return False
        answered = self.answers.get(newest.run_id)
        return answered is None or (trigger == "submit-message" and answered.status in WHOLE)

    def state(self, question: Question) -> ChatState:
        """Return the state of a question; of an older one the end is recorded."""
        known = self.answers.get(question.run_id) or self.newest_run or NEVER_BEGUN
        return ChatState(question.run_id, known.status, known.error, question.asked_at)

    def messages(self) -> list[Message]:
        """Return what was said, without the answer under way.

        A message takes the place of the one with its id, and ends what came after that.
        """
        listed: list[Message] = []
        places: dict[str, int] = {}
        for question in self.questions:
            answered = self.answers.get(question.run_id)
            for message in (question.message, answered.message if answered else None):
                if message is None:
                    continue
                place = places.get(message["id"], len(listed))
                for ended in listed[place:]:
                    del places[ended["id"]]
                listed[place:] = [message]
                places[message["id"]] = place
        return listed

    def completed(self, message: Message) -> Message | None:
        """Return a message as the chat stores it; None if it goes on with one that is not there.

        An assistant's message is the one that the chat has, with what the page says to the calls
        that are open: all else that a page says the assistant has said is not taken.
        """
        if message["role"] == "user":
            return message
        known = self._assistant_message(message["id"])
        return known and {**known, "parts": with_results(known["parts"], message["parts"])}

    def _assistant_message(self, id_: str) -> Message | None:
        """Return the assistant's message of this id."""
        for known in self.messages():
            if known["id"] == id_ and known["role"] == "assistant":
                return known
        return None

    def history(self) -> ChatHistory:
        """Return the messages, and the states of their newest questions."""
        messages = self.messages()
        ids = {message["id"] for message in messages}
        questions = {each.message["id"]: each for each in self.questions}
        states = {id_: self.state(each) for id_, each in questions.items() if id_ in ids}
        return ChatHistory(messages, states)


async def conversation(stream: StreamRequests) -> Conversation:
    """Read what a chat's stream has; a chat that has not begun has no questions."""
    found = Conversation()
    with contextlib.suppress(*ABSENT):
        async with aclosing(following.catch_up(stream, BEGINNING)) as batches:
            async for _, batch in batches:
                for body in batch.bodies:
                    found.take(decoded(body))
                found.offset = batch.offset
    return found
