"""The messages of a chat, read from the entries of its stream."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate import following
from headgate.chats.entries import Answered, Question, decoded
from headgate.chats.tool_answers import answered
from headgate.errors import BadRequest
from headgate.records import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.chats.entries import Message, Trigger
    from headgate.records import Status
    from headgate.stream_requests import StreamRequests

BEGINNING = "-1"
WHOLE = {"finished", "stopped"}
NEVER_BEGUN = "its answer was never begun"


@dataclass(frozen=True, slots=True)
class ChatState:
    """The state of a chat's newest question.

    Attributes:
        run_id: The id of the run that answers it.
        status: `active` while the run is produced, then how it ended.
        error: The reason, in a sentence, if the run failed or is orphaned.
        questions: Number of questions that were asked in the chat.
        asked_at: The moment of the question, in seconds since 1970.
    """

    run_id: str
    status: Status
    error: str | None
    questions: int
    asked_at: float


@dataclass(frozen=True, slots=True)
class AnswerState:
    """The state of the answer to a message.

    Attributes:
        run_id: The id of the run that answers it.
        status: `active` while the run is produced, then how it ended.
        error: The reason, in a sentence, if the run failed or is orphaned.
    """

    run_id: str
    status: Status
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a chat's messages.

    Attributes:
        messages: The UI messages, the oldest first.
        before: The argument with which `history` returns the page before; None on the first page.
        states: The states of the answers, by the ids of the messages that were asked.
    """

    messages: list[Message]
    before: str | None
    states: dict[str, AnswerState]


@dataclass
class Conversation:
    """The questions of a chat, and the answers that are known, by their runs."""

    questions: list[Question] = field(default_factory=list)
    answers: dict[str, Answered] = field(default_factory=dict)
    offset: str = BEGINNING  # behind what is known

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
    def is_open(self) -> bool:
        """True if no end of the newest question's run is recorded."""
        return self.newest is not None and self.newest.run_id not in self.answers

    def question(self, run_id: str) -> Question | None:
        """Return the question that a run answers."""
        return next((each for each in self.questions if each.run_id == run_id), None)

    def repeats(self, trigger: Trigger, message: Message) -> bool:
        """Return whether this is the newest question again, as a double click asks it.

        So is a message of the assistant's that says nothing new to its calls of tools. One that has
        its answer may be asked for another answer; one whose answer failed, too.
        """
        newest = self.newest
        if newest is None or newest.trigger != trigger:
            return False
        sent = newest.message
        known = self._known(sent["id"]) if newest.continued else sent
        if message != known:
            return False
        answered = self.answers.get(newest.run_id)
        return answered is None or (trigger == "submit-message" and answered.status in WHOLE)

    def state(self, run: RunState | None) -> ChatState | None:
        """Return what has become of the newest question; `run` is the state of its run."""
        newest = self.newest
        if newest is None:
            return None
        known = self._state(newest, run)
        return ChatState(
            newest.run_id, known.status, known.error, len(self.questions), newest.asked_at
        )

    def _state(self, question: Question, run: RunState | None) -> AnswerState:
        known = self.answers.get(question.run_id) or run or RunState("failed", NEVER_BEGUN)
        return AnswerState(question.run_id, known.status, known.error)

    def _states(self, messages: Iterable[Message], run: RunState | None) -> dict[str, AnswerState]:
        """Return the states of the answers to these messages, of each to its newest question."""
        newest = {question.message["id"]: question for question in self.questions}
        ids = (message["id"] for message in messages)
        return {id_: self._state(newest[id_], run) for id_ in ids if id_ in newest}

    def unanswered(self) -> list[Question]:
        """Return the questions of which it is not known what has become of them."""
        return [each for each in self.questions if each.run_id not in self.answers]

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

    def asked(self, message: Message) -> Message | None:
        """Return the message as it is asked with; None if it goes on with what is not there.

        An assistant's message is the one that the chat has, with what the page says to the calls
        that are open: all else that a page says the assistant has said is not taken.
        """
        if message["role"] == "user":
            return message
        known = self._known(message["id"])
        return known and {**known, "parts": answered(known["parts"], message["parts"])}

    def _known(self, id_: str) -> Message | None:
        """Return the assistant's message of this id."""
        for known in self.messages():
            if known["id"] == id_ and known["role"] == "assistant":
                return known
        return None

    def page(self, limit: int, before: str | None, run: RunState | None) -> Page:
        """Return the last messages, or those before the one with the id `before`.

        `run` is the state of the newest run. BadRequest where there is no message with that id, or
        not any more.
        """
        messages = self.messages()
        end = len(messages)
        if before is not None:
            ids = [message["id"] for message in messages]
            if before not in ids:
                raise BadRequest(f"this chat has no message with the id {before!r}")
            end = ids.index(before)
        start = max(0, end - limit)
        listed = messages[start:end]
        return Page(listed, messages[start]["id"] if start else None, self._states(listed, run))


async def conversation(stream: StreamRequests, offset: str = BEGINNING) -> Conversation:
    """Read what a chat's stream has from the offset on; raises ABSENT where there is no chat."""
    found = Conversation(offset=offset)
    async with aclosing(following.catch_up(stream, offset)) as batches:
        async for _, batch in batches:
            for body in batch.bodies:
                found.take(decoded(body))
            found.offset = batch.position.offset
    return found
