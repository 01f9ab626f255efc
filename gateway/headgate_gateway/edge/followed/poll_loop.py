"""The long-polls by which a stream is followed: each result decides the next poll.

A poll is under way until its stream has news. Its answer comes as a call: a task that waits for it
with a future and a timer would cost 190 us more for each event. Only bodies that do not come with
their heads are read in a task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from headgate.retries import wait_s
from headgate_gateway.edge.followed.origin_reads import (
    LONGEST_READ,
    UNSURE,
    CannotFollow,
    PollQuestion,
    PollResult,
)
from headgate_gateway.edge.followed.poller import ANSWERS
from headgate_gateway.edge.reads.shared_response import BEFORE_ALL, next_number
from headgate_gateway.errors import HeadgateError, OriginBroken, OriginBusy
from headgate_gateway.origin.requests import OriginRequest
from headgate_gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.edge.followed.poller import Poller, PollerRequest, Steps
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.origin.client import Origin, SentRequest

# About a second: a server that restarts or a cut connection is back before readers get an error.
# Some clients give up at the first one.
QUIET_FAILURES = 3
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0  # seconds; a recovered origin waits at most so long for a request
HOLDS_S = 1.0  # seconds; after which a poll without an answer counts as accepted

MISATTRIBUTED = "the origin's answer to a long-poll may have been to another request"


class Observer(Protocol):
    """A followed stream, which its polls notify."""

    def on_answer(self, start: str, polled: PollResult) -> None:
        """Publish the data after `start`."""

    def on_hold(self) -> None:
        """Note that the origin holds a poll: the stream is followed, and has no news."""

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Note a failure that is retried; if `quietly`, readers get no error for it."""

    def on_error(self, error: Exception) -> None:
        """End the stream, because an answer could not be used."""

    def doubt(self) -> None:
        """Compare the stream, because an answer that was used may be to another request."""

    def end(self, reason: HeadgateError) -> None:
        """End the stream, because it is gone."""


def backoff_s(failures: int, chance: float) -> float:
    """Return the pause after so many failures in a row; `chance` in [0, 1) is its jitter."""
    return wait_s(failures, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, chance)


class OriginPollLoop:
    """The polls for one stream from `start` on, until it is closed, gone, or no longer followed.

    `chance` returns a number in [0, 1) for the jitter of each pause. The loop is the
    `AnswerReceiver` of its requests.
    """

    def __init__(
        self,
        origin: Origin,
        poller: Poller,
        start: str,
        stream: Observer,
        chance: Callable[[], float],
    ) -> None:
        self._origin = origin
        self._poller = poller
        self._stream = stream
        self._chance = chance
        self._question = PollQuestion(start, None, waits=True)
        self._failures = 0  # in a row
        self._empty_answers = 0  # in a row, to polls that the origin did not hold
        self._is_held = False
        self.sent_at = 0.0  # loop time when the first request for the question was sent
        self.number = BEFORE_ALL  # of that request, in the order of what became known
        self._steps: Steps | None = None  # to the answer to the question
        # Under way: without a task, or the task that reads its body.
        self._request: SentRequest | asyncio.Task[OriginAnswer] | None = None
        self._is_over = False
        self._restart: asyncio.Handle | None = None
        self._hold: asyncio.Handle | None = None  # counts a poll as accepted after HOLDS_S
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
        request, self._hold, self._request = self._request, None, None
        if isinstance(request, asyncio.Task):
            request.cancel()
        elif request is not None:
            request.abandon()

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

    def _on_hold(self) -> None:
        self._hold = None
        if not self._is_held:
            self._is_held = True
            self._guarded(self._stream.on_hold)

    # Results of its requests

    def on_answer(self, answer: OriginAnswer) -> None:
        """Continue with a whole answer, or read the body in a task."""
        self._request = None
        if answer.body is not None:
            trusted = self._trusts(answer)
            self._guarded(self._go_on, answer if trusted else OriginBroken(MISATTRIBUTED))
            return
        with tracing.detached():
            task = self._request = asyncio.get_running_loop().create_task(self._read(answer))
        task.add_done_callback(self._done)
        # A task that is cancelled before it begins comes to no `finally`.
        task.add_done_callback(lambda _: answer.release())

    def on_failure(self, error: Exception) -> None:
        """Continue after a request without an answer."""
        self._request = None
        self._guarded(self._go_on, error)

    # Questions

    def _send_question(self) -> None:
        self._pause = None
        self._is_held = False
        self.sent_at, self.number = asyncio.get_running_loop().time(), next_number()
        self._steps = self._poller.steps_to_answer(self._question)
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
            pause_s = self._publish(end.value)
        except (CannotFollow, HeadgateError) as error:
            pause_s = self._fail(error)
        else:
            self._send(request)
            return
        if pause_s is None or self._is_over:
            self._is_over = True
        elif pause_s:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(pause_s, self._guarded, self._send_question)
        else:
            self._send_question()

    def _step(self, result: OriginAnswer | BaseException | None) -> PollerRequest:
        steps = self._steps
        assert steps is not None, "a question is asked"
        if result is None:
            return next(steps)
        return steps.throw(result) if isinstance(result, BaseException) else steps.send(result)

    def _publish(self, polled: PollResult) -> float | None:
        """Publish an answer; return the pause before the next question, None if there is none."""
        question = self._question
        if self._is_over:  # a comparison within the question has ended it
            return None
        self._stream.on_answer(question.start, polled)
        if polled.closed and polled.caught_up:
            return None
        self._question = PollQuestion(polled.end, polled.cursor, waits=True)
        if not question.waits:
            return 0.0
        self._failures = 0
        if self._is_held or polled.end != question.start:
            self._empty_answers = 0
            return 0.0
        # An origin that neither waits nor has news must not be asked as fast as it answers.
        self._empty_answers += 1
        return backoff_s(self._empty_answers, self._chance())

    def _fail(self, error: HeadgateError | CannotFollow) -> float | None:
        """Report a failure; return the pause, or None if the stream cannot be followed on."""
        if self._is_over:
            return None
        if isinstance(error, CannotFollow):
            self._stream.end(error.reason)
            return None
        self._failures += 1
        self._stream.on_failure(error, quietly=self._failures <= QUIET_FAILURES)
        # A restarted origin may have lost the last data, and would hold a poll from after them.
        self._question = self._question._replace(waits=False)
        return backoff_s(self._failures, self._chance())

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; report an exception to the stream, since the caller cannot handle it."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - as it would end a task
            self.stop()
            self._stream.on_error(error)

    # Requests

    def _send(self, request: PollerRequest) -> None:
        if self._is_over:
            return
        if request.waits:
            self._hold = asyncio.get_running_loop().call_later(HOLDS_S, self._on_hold)
        # Otherwise readers that wait for this very answer might use up the limit.
        is_uncounted = request.waits or self._origin.requests.is_full
        self._request = self._origin.start(
            OriginRequest("GET", request.target, request.lines, is_poll=is_uncounted), self
        )

    def _trusts(self, answer: OriginAnswer) -> bool:
        """Return whether an answer belongs to its request, as far as its connection shows."""
        return answer.history.note(self, self._stream.doubt)

    async def _read(self, answer: OriginAnswer) -> OriginAnswer:
        try:
            answer.body = await answer.read(LONGEST_READ) if answer.status in ANSWERS else b""
            if not self._trusts(answer):
                raise OriginBroken(MISATTRIBUTED)
            return answer
        finally:
            answer.release()

    def _done(self, task: asyncio.Task[OriginAnswer]) -> None:
        if task is self._request and not task.cancelled():
            self._request = None
            self._guarded(self._go_on, task.exception() or task.result())
