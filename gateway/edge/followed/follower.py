"""Decide on the next long-poll to an origin for a followed stream, after each result.

`OriginPollLoop` sends the requests and reports their results to the `Follower`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.backoff import wait_s

from gateway.errors import HeadgateError, OriginBroken, OriginBusy, StreamGone, StreamNotFound

if TYPE_CHECKING:
    from collections.abc import Callable


# About a second: a server that restarts or a cut connection is back before readers get an error.
# Some clients give up at the first one.
QUIET_FAILURES = 3
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0  # seconds; a recovered origin waits at most so long for a request
PASSING = frozenset({408, 425, 429})  # statuses of refusals that are worth another try
LONGEST_READ = 64 << 20  # bytes of one response that is parsed for live readers
HOLDS_S = 1.0  # seconds; after which a poll without an answer counts as accepted


class CannotFollow(Exception):
    """A refusal that the origin would repeat for any further poll."""

    def __init__(self, reason: HeadgateError) -> None:
        super().__init__(reason.detail)
        self.reason = reason


class PollQuestion(NamedTuple):
    """A question to the origin: a long-poll if it `waits` for new data, else a catch-up read."""

    start: str
    cursor: str | None
    waits: bool


class PollResult(NamedTuple):
    """The content of an answer: `body` has the data up to the offset `end`."""

    end: str
    cursor: str | None
    body: bytes
    content_type: str
    closed: bool
    caught_up: bool
    directives: str | None = None  # cache directives of a poll's data; None without data
    cors: str = ""  # the origin's CORS fields, if any


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


def refuse(status: int, again_s: int | None) -> None:
    """Raise the error for a read of a followed stream that was answered with `status`.

    `again_s` is its Retry-After.
    """
    if status == 404:
        raise CannotFollow(StreamNotFound("the stream was deleted"))
    if status == 410:
        raise CannotFollow(
            StreamGone("the stream was deleted, or its offsets are of an earlier one")
        )
    answers = f"the origin answers a read of the stream with {status}"
    if status >= 500 or status in PASSING:
        raise OriginBusy(answers, again_s)
    reason = OriginBroken(answers)
    if status >= 400:
        raise CannotFollow(reason)  # a reader's next request gets the origin's own answer
    raise reason
