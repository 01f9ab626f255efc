"""The long-polls by which a stream is followed: each result decides the next poll.

A poll is under way until its stream has news. Its answer comes as a call: a task that waits for it
with a future and a timer would cost 190 us more for each event. Only bodies that do not come with
their heads are read in a task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from headgate.backoff import wait_s

from gateway.edge.followed.origin_reads import (
    LONGEST_READ,
    UNSURE,
    CannotFollow,
    PollQuestion,
    PollResult,
)
from gateway.edge.followed.poller import ANSWERS
from gateway.edge.reads.shared_response import BEFORE_ALL, next_number
from gateway.errors import HeadgateError, OriginBroken, OriginBusy
from gateway.origin.requests import OriginRequest, field_block
from gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.followed.poller import Poller, PollerRequest, Steps
    from gateway.origin.answer import OriginAnswer
    from gateway.origin.client import Origin, SentRequest
    from gateway.rules.cached_response import CacheRequest

# About a second: a server that restarts or a cut connection is back before readers get an error.
# Some clients give up at the first one.
QUIET_FAILURES = 3
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0  # seconds; a recovered origin waits at most so long for a request
HOLDS_S = 1.0  # seconds; after which a poll without an answer counts as accepted

OUT_OF_STEP = "the origin's answer to a long-poll may have been to another request"


class Observer(Protocol):
    """A followed stream, as its follower notifies it."""

    def on_answer(self, start: str, polled: PollResult) -> None:
        """Publish the data after `start`."""

    def on_hold(self) -> None:
        """Note that the origin holds a poll: the stream is followed, and has no news."""

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Note a failure that is retried; if `quietly`, readers get no error for it."""

    def end(self, reason: HeadgateError) -> None:
        """End the stream, because it is gone."""


def backoff_s(failures: int, chance: float) -> float:
    """Return the pause after so many failures in a row; `chance` in [0, 1) is its jitter."""
    return wait_s(failures, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, chance)


class Follower:
    """The state machine of one followed stream: each result decides on the next `question`.

    Results return the pause before it in seconds, or None once the stream is closed or gone.
    `chance` returns a number in [0, 1) for the jitter of each pause.
    """

    __slots__ = ("_chance", "_empty_answers", "_failures", "_is_held", "_observer", "question")

    def __init__(self, start: str, observer: Observer, chance: Callable[[], float]) -> None:
        self.question = PollQuestion(start, None, waits=True)
        self._observer = observer
        self._chance = chance
        self._failures = 0  # in a row
        self._empty_answers = 0  # in a row, to polls that the origin did not hold
        self._is_held = False

    def on_hold(self) -> None:
        """Note that the origin has held the question for HOLDS_S."""
        if not self._is_held:
            self._is_held = True
            self._observer.on_hold()

    def on_answer(self, polled: PollResult) -> float | None:
        """Publish an answer, and set the next question; return None once the stream is closed."""
        question = self.question
        self._observer.on_answer(question.start, polled)
        if polled.closed and polled.caught_up:
            return None
        pause_s = 0.0
        if question.waits:
            self._failures = 0
            # An origin that neither waits nor has news must not be asked as fast as it answers.
            is_empty = not self._is_held and polled.end == question.start
            self._empty_answers = self._empty_answers + 1 if is_empty else 0
            if is_empty:
                pause_s = backoff_s(self._empty_answers, self._chance())
        self.question = PollQuestion(polled.end, polled.cursor, waits=True)
        self._is_held = False
        return pause_s

    def on_failure(self, error: HeadgateError | CannotFollow) -> float | None:
        """Set the question after a failure; return None if the stream cannot be followed on."""
        if isinstance(error, CannotFollow):
            self._observer.end(error.reason)
            return None
        self._failures += 1
        self._observer.on_failure(error, quietly=self._failures <= QUIET_FAILURES)
        # A restarted origin may have lost the last data, and would hold a poll from behind them.
        self.question = self.question._replace(waits=False)
        self._is_held = False
        return backoff_s(self._failures, self._chance())


class OriginPollLoop:
    """The requests for one stream, until it is closed, gone, or no longer followed.

    `on_error` is called when an answer could not be used, and `on_distrust` if one that was
    accepted may have been to another request; the polls stop then, unless it is given. It is the
    `AnswerReceiver` of its requests.
    """

    def __init__(
        self,
        origin: Origin,
        follower: Follower,
        poller: Poller,
        on_error: Callable[[Exception], None],
        on_distrust: Callable[[], None] | None = None,
    ) -> None:
        self._origin = origin
        self._follower = follower
        self._poller = poller
        self._on_error = on_error
        self._on_distrust = on_distrust or self.stop
        self.sent_at = 0.0  # loop time when the first request for the question was sent
        self.number = BEFORE_ALL  # of that request, in the order of what became known
        self._steps: Steps | None = None  # to the answer to the follower's question
        self._pending: SentRequest | None = None  # under way without a task
        self._task: asyncio.Task[OriginAnswer] | None = None
        self._is_over = False
        self._restart: asyncio.Handle | None = None
        self._hold: asyncio.Handle | None = None  # counts a poll as accepted after HOLDS_S
        self._reader: CacheRequest | None = None  # whose credentials the last request had
        self._block = b""
        # Not at once: the caller does not have this object yet.
        self._pause: asyncio.Handle | None = asyncio.get_running_loop().call_soon(
            self._guarded, self._send_question
        )

    def stop(self) -> None:
        """Stop, and cancel the request under way."""
        self._is_over = True
        if self._pause is not None:
            self._pause.cancel()
        self._pause = None
        self._abandon()

    def _abandon(self) -> None:
        """Cancel the request under way, if there is one."""
        if self._hold is not None:
            self._hold.cancel()
        if self._pending is not None:
            self._pending.abandon()
        if self._task is not None:
            self._task.cancel()
        self._hold = self._pending = self._task = None

    def start_over(self) -> None:
        """Fail the request under way soon, so that the next one shows a later state."""
        if self._restart is None:
            # Not at once: the caller may be the connection that the poll is on.
            self._restart = asyncio.get_running_loop().call_soon(self._start_over)

    def _start_over(self) -> None:
        self._restart = None
        if not self._is_over and self._pause is None:  # else no request is under way
            self._abandon()
            self._guarded(self._go_on, OriginBusy(UNSURE))

    def hurry(self) -> None:
        """Send the next request now instead of after a pause: the origin answers again."""
        if self._restart is not None:
            self._restart.cancel()
            self._start_over()
        if self._pause is not None and not self._is_over:
            self._pause.cancel()
            self._guarded(self._send_question)

    def on_hold(self) -> None:
        """Note that the origin holds the poll."""
        self._hold = None
        self._guarded(self._follower.on_hold)

    # Results of its requests

    def on_answer(self, answer: OriginAnswer) -> None:
        """Continue with a whole answer, or read the body in a task."""
        self._pending = None
        if answer.body is not None:
            trusted = self._trusts(answer)
            self._guarded(self._go_on, answer if trusted else OriginBroken(OUT_OF_STEP))
            return
        with tracing.nobodys():
            self._task = asyncio.get_running_loop().create_task(self._read(answer))
        self._task.add_done_callback(self._done)
        # A task that is cancelled before it begins comes to no `finally`.
        self._task.add_done_callback(lambda _: answer.release())

    def on_failure(self, error: Exception) -> None:
        """Continue after a request without an answer."""
        self._pending = None
        self._guarded(self._go_on, error)

    # Questions

    def _send_question(self) -> None:
        self._pause = None
        self.sent_at, self.number = asyncio.get_running_loop().time(), next_number()
        self._steps = self._poller.steps_to_answer(self._follower.question)
        self._go_on(None)

    def _go_on(self, result: OriginAnswer | BaseException | None) -> None:
        """Make the next request, if any; `result` is the result of the one before it."""
        if self._is_over:
            return
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        try:
            request = self._step(result)
        except StopIteration as end:
            self._decide(self._follower.on_answer, end.value)
        except (CannotFollow, HeadgateError) as error:
            self._decide(self._follower.on_failure, error)
        else:
            self._send(request)

    def _step(self, result: OriginAnswer | BaseException | None) -> PollerRequest:
        steps = self._steps
        assert steps is not None, "a question is asked"
        if result is None:
            return next(steps)
        return steps.throw(result) if isinstance(result, BaseException) else steps.send(result)

    def _decide(self, judge: Callable[[Any], float | None], result: object) -> None:
        """Do what follows a result, unless its observer has stopped this."""
        pause_s = None if self._is_over else judge(result)
        if pause_s is None or self._is_over:
            self._is_over = True
        elif pause_s:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(pause_s, self._guarded, self._send_question)
        else:
            self._send_question()

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; report an exception to the stream, since the caller cannot handle it."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - as it would end a task
            self.stop()
            self._on_error(error)

    # Requests

    def _send(self, request: PollerRequest) -> None:
        if self._is_over:
            return
        if request.waits:
            self._hold = asyncio.get_running_loop().call_later(HOLDS_S, self.on_hold)
        # Otherwise readers that wait for this very answer might use up the limit.
        is_uncounted = request.waits or self._origin.requests.is_full
        if self._reader is not request.reader:  # its fields are the same in all of them
            self._reader, self._block = request.reader, field_block(request.reader.fields)
        self._pending = self._origin.start(
            OriginRequest("GET", request.target, self._block, is_poll=is_uncounted), self
        )

    def _trusts(self, answer: OriginAnswer) -> bool:
        """Return whether an answer belongs to its request, as far as its connection shows."""
        return answer.history.note(self, self._on_distrust)

    async def _read(self, answer: OriginAnswer) -> OriginAnswer:
        try:
            answer.body = await answer.read(LONGEST_READ) if answer.status in ANSWERS else b""
            if not self._trusts(answer):
                raise OriginBroken(OUT_OF_STEP)
            return answer
        finally:
            answer.release()

    def _done(self, task: asyncio.Task[OriginAnswer]) -> None:
        if task is self._task and not task.cancelled():
            self._task = None
            self._guarded(self._go_on, task.exception() or task.result())
