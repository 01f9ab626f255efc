"""How a stream is followed: one long-poll after the other, whatever happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.backoff import wait_s
from typing_extensions import override

from gateway.cache.rules.directives import again_s
from gateway.errors import HeadgateError, OriginBroken, OriginBusy, StreamGone, StreamNotFound
from gateway.protocol.origins.repair import is_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

# About a second: what restarts or was cut is back before anybody hears of it. Some clients give up
# at the first error that they are told of.
QUIET_FAILURES = 3
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0  # so long after its recovery an origin may wait to be asked again
PASSING = frozenset({408, 425, 429})  # refusals that are worth another try
HOLDS_S = 1.0  # an origin that keeps a poll for so long has taken it


class CannotFollow(Exception):
    """The origin will not answer another poll otherwise."""

    def __init__(self, reason: HeadgateError) -> None:
        super().__init__(reason.detail)
        self.reason = reason


class PollQuestion(NamedTuple):
    """What a follower asks: a long-poll, which `waits` for news, or a read, answered at once."""

    start: str
    cursor: str | None
    waits: bool


class Polled(NamedTuple):
    """What an answer brought: `end` is where the next one begins, `body` what lies before it."""

    end: str
    cursor: str | None
    body: bytes
    content_type: str
    closed: bool
    caught_up: bool
    said: str | None = None  # to caches, of a poll's data; None where there are none
    cors: str = ""  # to browsers, where the origin says anything

    @property
    def brings_nothing(self) -> bool:
        """Whether it has no data."""
        return is_nothing(self.content_type, self.body)


class Observer(Protocol):
    """Whom a follower tells."""

    def answered(self, start: str, polled: Polled) -> None:
        """What follows `start` was told."""

    def holds(self) -> None:
        """The origin keeps a poll: the stream is followed, and has no news."""

    def failed(self, reason: HeadgateError, *, quietly: bool) -> None:
        """The origin cannot be followed now; it is asked again. Perhaps nobody need hear of it."""

    def end(self, reason: HeadgateError) -> None:
        """The stream is gone."""


def backoff_s(failures: int, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` in [0, 1) spreads gateways."""
    return wait_s(failures, FIRST_BACKOFF_S, LONGEST_BACKOFF_S, chance)


class Next(NamedTuple):
    """What a follower wants asked, and after how many seconds."""

    question: PollQuestion
    after_s: float = 0.0


class Follower:
    """Decides what is asked next: it is told what became of its last question.

    Without a next one the stream is closed or gone. `chance` in [0, 1) is asked for each pause.
    """

    __slots__ = ("_barren", "_chance", "_failures", "_is_held", "_observer", "question")

    def __init__(self, start: str, observer: Observer, chance: Callable[[], float]) -> None:
        self.question = PollQuestion(start, None, waits=True)
        self._observer = observer
        self._chance = chance
        self._failures = 0  # in a row
        self._barren = 0  # answers in a row
        self._is_held = False

    @override
    def __repr__(self) -> str:
        return f"Follower({self.question!r}, {self._failures} failures, {self._barren} barren)"

    def holds(self) -> None:
        """The origin has kept the question for HOLDS_S."""
        if not self._is_held:
            self._is_held = True
            self._observer.holds()

    def answered(self, polled: Polled) -> Next | None:
        """The origin has answered."""
        question = self.question
        self._observer.answered(question.start, polled)
        if polled.closed and polled.caught_up:
            return None
        pause_s = 0.0
        if question.waits:
            self._failures = 0
            # An origin that neither waits nor has news must not be asked as fast as it answers.
            is_barren = not self._is_held and polled.end == question.start
            self._barren = self._barren + 1 if is_barren else 0
            if is_barren:
                pause_s = backoff_s(self._barren, self._chance())
        return self._next(PollQuestion(polled.end, polled.cursor, waits=True), pause_s)

    def failed(self, error: HeadgateError | CannotFollow) -> Next | None:
        """There is no answer, or none to follow."""
        if isinstance(error, CannotFollow):
            self._observer.end(error.reason)
            return None
        self._failures += 1
        self._observer.failed(error, quietly=self._failures <= QUIET_FAILURES)
        # What comes back may have lost the stream's end, and would keep a poll for ever.
        read = self.question._replace(waits=False)
        return self._next(read, backoff_s(self._failures, self._chance()))

    def _next(self, question: PollQuestion, pause_s: float) -> Next:
        self.question = question
        self._is_held = False
        return Next(question, pause_s)


def refuse(status: int, headers: MultiMapping[str]) -> None:
    """Raise what a refused read means for those who follow the stream."""
    if status == 404:
        raise CannotFollow(StreamNotFound("the stream was deleted"))
    if status == 410:
        raise CannotFollow(
            StreamGone("the stream was deleted, or its offsets are of an earlier one")
        )
    answers = f"the origin answers a read of the stream with {status}"
    if status >= 500 or status in PASSING:
        raise OriginBusy(answers, again_s(headers))
    reason = OriginBroken(answers)
    if status >= 400:
        raise CannotFollow(reason)  # it is worth a new request, which the origin answers by itself
    raise reason
