"""Chats, each of whose answers is a run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from headgate import following, records
from headgate.chats import entries
from headgate.chats.conversation import NEVER_BEGUN, Conversation, Turn, conversation
from headgate.chats.entries import Answered, Question, decoded, encode
from headgate.chats.ui_messages import continued, read_message
from headgate.errors import (
    ABSENT,
    BadRequest,
    Closed,
    Conflict,
    Fenced,
    StreamError,
    check_number,
    check_runs,
)
from headgate.misuse import NAME_THE_CHAT, refusing_method
from headgate.records import ACTIVE
from headgate.runs.answer import Answer
from headgate.runs.runs import Runs
from headgate.runs.stored.orphans import WAITING, state_of
from headgate.sending.framing import JSON, json_array
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.chats.conversation import Answering, ChatHistory, ChatState
    from headgate.chats.entries import Trigger
    from headgate.records import RunState
    from headgate.runs.cursors import Cursor
    from headgate.runs.sources import RunSource
    from headgate.stream_requests import StreamRequests

# Or about to, where its process is about to start it or another one may take it over.
GOING_ON = (None, ACTIVE, WAITING)
FORMAT: Final = "ai-sdk"
QUESTIONS = "question"  # the id of the producer whose epochs count the questions
BEGINS_WITHIN_S = 3.0  # a process that has stored a question is about to start its run
LOOK_AGAIN_S = 0.25  # whether an answer has ended, or a chat has begun
DELETED_AT_ONCE = 16  # runs of a chat: others use the server, too


class Chats:
    """The chats below the URL of some `Runs`: their messages, and their answers as runs.

    ```python
    chats = headgate.Chats(headgate.Runs("http://127.0.0.1:4437/v1/stream/c", ttl=None))
    answer = await chats.send("chat-1", message, answering)
    ```

    With threads, the source of an answer is made and iterated in a thread of its own.

    Args:
        runs: The runs of the answers. Chats are deleted when their `ttl` is over: None keeps them.
        busy_after: Seconds for which a message waits for the end of the answer under way before it
            is refused.
    """

    def __init__(self, runs: Runs, *, busy_after: float = 3.0) -> None:
        check_runs(runs, Runs, "headgate.Runs")
        check_number("busy_after", busy_after, is_finite=True)
        self.runs = runs
        self._busy_after_s = busy_after

    @override
    def __repr__(self) -> str:
        return f"Chats({self.runs!r})"

    if not TYPE_CHECKING:
        __call__ = refusing_method(NAME_THE_CHAT)

    async def send(
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
        log = self._log(chat_id)
        sent = entries.check_message(message)
        found = await self._answer_or_question(log, chat_id, sent, trigger)
        if isinstance(found, Answer):
            return found
        question = found.questions[-1]
        turn = Turn(chat_id, question.run_id, found.messages(), user, body or {})
        return await self._begun(log, question, answering(turn))

    async def _answer_or_question(
        self, log: StreamRequests, chat_id: str, sent: dict[str, Any], trigger: Trigger
    ) -> Answer | Conversation:
        """Return the answer that the message has, or the conversation with its new question.

        Raises Conflict, BadRequest, and what `send` raises besides.
        """
        give_up_at: dict[str, float] = {}
        number = 0
        while True:
            found = await self._settled(log)
            message = found.completed(sent)
            if message is not None and found.repeats(trigger, message):
                answer = await self.runs.follow(found.questions[-1].run_id, wait=LOOK_AGAIN_S)
                if answer is not None:
                    return answer
            if found.open_question is not None:
                await self._wait_for(found, found.open_question, give_up_at)
                continue
            if message is None:
                raise BadRequest(
                    f"this chat has no message of the assistant's with the id {sent['id']!r}"
                )
            question = Question(
                run_id=entries.new_run(chat_id), trigger=trigger, message=message, asked_at=now_s()
            )
            number = max(number, len(found.questions))
            newest = await self._claim(log, number, question)
            if newest is None:
                found.take([question])
                return found
            number = newest + 1

    async def resume(
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
        log = self._log(entries.chat_of(chat_id))
        if entries.is_run(chat_id):
            return await self.runs.follow(chat_id, after, only_active=after is None)
        found = await conversation(log)
        answer = await self._followed(found.newest, after)
        if answer is None and wait:
            question = await self._next_question(log, found.offset, wait)
            answer = await self._followed(question, None, wait=BEGINS_WITHIN_S)
        return answer

    async def stop(self, chat_id: str) -> bool:
        """Stop the newest answer of the chat, wherever it is; return False if none goes on."""
        newest = (await conversation(self._log(chat_id))).newest
        return newest is not None and await self.runs.stop(newest.run_id)

    async def history(self, chat_id: str) -> ChatHistory:
        """Return the messages of a chat, without the answer under way, which `resume` gives.

        A chat that has not begun has none. Raises Unavailable if the server is away.
        """
        return (await self._settled(self._log(chat_id))).history()

    async def state(self, chat_id: str) -> ChatState | None:
        """Return what has become of the newest question of a chat; None if nothing was asked."""
        found = await self._settled(self._log(chat_id))
        return None if found.newest is None else found.state(found.newest)

    async def delete(self, chat_id: str) -> bool:
        """Stop the answer that goes on, and delete the chat; return False if there is none.

        From the beginning of it on, the chat takes no question. Where it was interrupted, do it
        again.
        """
        log = self._log(chat_id)
        try:
            await log.close()
        except ABSENT:
            return False
        found = await conversation(log)
        runs = [question.run_id for question in found.questions]
        for first in range(0, len(runs), DELETED_AT_ONCE):
            some = runs[first : first + DELETED_AT_ONCE]
            await asyncio.gather(*map(self.runs.delete, some))
        with contextlib.suppress(*ABSENT):
            await log.delete()
        return True

    def _log(self, chat_id: str) -> StreamRequests:
        return self.runs._place(entries.check_chat(chat_id) + entries.LOG).items

    async def _settled(self, log: StreamRequests) -> Conversation:
        """Read the chat, write down what has become of its runs, and look at the newest one."""
        found = await conversation(log)
        for question in found.unanswered():
            state = await state_of(self.runs._place(question.run_id))
            if question is found.newest and state in GOING_ON:
                found.newest_run = state
            elif state not in (ACTIVE, WAITING):
                answered = await self._answered(question, state or NEVER_BEGUN)
                found.take([answered])
                # It is only written down for the next reader. Where the server does not take it,
                # since it is too large or too deep for one append, each reads the run.
                with contextlib.suppress(StreamError):
                    await log.append(json_array([encode(answered)]), content_type=JSON)
        return found

    async def _answered(self, question: Question, state: RunState) -> Answered:
        message = None
        run = self.runs._place(question.run_id)
        with contextlib.suppress(*ABSENT):
            message = await read_message(run.items, run.id, question.continued)
        if message is not None and not message["parts"]:
            message = None
        return Answered(
            run_id=question.run_id, status=state.status, error=state.error, message=message
        )

    async def _wait_for(
        self, found: Conversation, question: Question, give_up_at: dict[str, float]
    ) -> None:
        """Wait a moment for the end of an answer, or for its beginning.

        Raises Conflict where it has gone on for too long. One that nobody has begun is given up.
        """
        is_begun = found.newest_run is not None
        now = asyncio.get_running_loop().time()
        wait_s = self._busy_after_s if is_begun else BEGINS_WITHIN_S
        if now < give_up_at.setdefault("" if is_begun else question.run_id, now + wait_s):
            await asyncio.sleep(LOOK_AGAIN_S)
        elif is_begun:
            raise Conflict("the answer to another message goes on: stop it first")
        else:
            await self._give_up(question)

    async def _give_up(self, question: Question) -> None:
        """End the run of a question before it begins: who would still start it is refused."""
        end = records.end(NEVER_BEGUN, 0)
        opening = json_array([records.opening(FORMAT), end])
        with contextlib.suppress(Conflict):  # it has begun meanwhile
            await self.runs._place(question.run_id).items.create(
                content_type=JSON, ttl_s=self.runs._rules.ttl_s, is_closed=True, body=opening
            )

    async def _claim(self, log: StreamRequests, number: int, question: Question) -> int | None:
        """Ask it as the question of this number; return the newest one's if that is not this one.

        Each question is an epoch of one producer: of all who ask the next one at the same time,
        the server takes the first.
        """
        stamp = ProducerStamp(QUESTIONS, number, 0)
        body = json_array([encode(question)])
        try:
            try:
                appended = await log.append(body, content_type=JSON, producer=stamp)
            except ABSENT:
                if number:
                    return -1  # the chat that this follows on has been deleted
                await log.create(content_type=JSON, ttl_s=self.runs._rules.ttl_s)
                appended = await log.append(body, content_type=JSON, producer=stamp)
        except Fenced as fenced:
            return fenced.epoch
        return number if appended.is_duplicate else None

    async def _begun(self, log: StreamRequests, question: Question, source: RunSource) -> Answer:
        """Start the run of a question, unless that took so long that the chat has gone on."""
        message = question.continued
        message_id = None if message is None else message["id"]
        try:
            answer = await self.runs.start(
                question.run_id, source, format=FORMAT, message_id=message_id
            )
        except Closed as error:
            raise Conflict("another message was sent meanwhile") from error
        except ABSENT as error:  # its run, which has only just been created
            raise Conflict("the chat was deleted meanwhile") from error
        # Whoever deletes a chat closes it, and then deletes the runs that there are.
        metadata = await log.find()
        if metadata is None or metadata.is_closed:
            await answer.body.aclose()
            await self.runs.delete(question.run_id)
            raise Conflict("the chat was deleted meanwhile")
        return answer

    async def _followed(
        self, question: Question | None, after: int | Cursor | None, *, wait: float = 0.0
    ) -> Answer | None:
        if question is None:
            return None
        answer = await self.runs.follow(
            question.run_id, after, only_active=after is None, wait=wait
        )
        if answer is None or after is not None or question.continued is None:
            return answer
        return continued(answer, question.continued)

    async def _next_question(
        self, log: StreamRequests, offset: str, wait_s: float
    ) -> Question | None:
        """Return the next question after the offset, also where the chat has not begun.

        None after `wait_s`, or once the chat is being deleted.
        """
        found = Conversation()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    try:
                        async with aclosing(following.follow(log, offset)) as batches:
                            async for batch in batches:
                                found.take(each for body in batch.bodies for each in decoded(body))
                                if found.newest is not None:
                                    return found.newest
                    except ABSENT:
                        await asyncio.sleep(LOOK_AGAIN_S)
                    else:
                        return None
        return None


def now_s() -> float:
    """Return the time for people who look at a list of chats: nothing is decided by it."""
    return time.time()  # noqa: TID251
