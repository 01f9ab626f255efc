"""How a stream at an origin is followed: poll after poll, with pauses that spare the origin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from headgate_gateway.edge.followed.origin_reads import CannotFollow, PollQuestion, PollResult
from headgate_gateway.edge.followed.poll_loop import (
    FIRST_BACKOFF_S,
    HOLDS_S,
    LONGEST_BACKOFF_S,
    QUIET_FAILURES,
    OriginPollLoop,
    backoff_s,
)
from headgate_gateway.edge.followed.poller import PollerRequest
from headgate_gateway.errors import HeadgateError, OriginBroken, OriginTimeout, StreamNotFound
from headgate_gateway.origin.answer import AnswerReceiver, OriginAnswer
from headgate_gateway.origin.requests import OriginRequest, RequestsInFlight
from headgate_gateway.origin.reuse import ConnectionHistory
from tests.support.virtual_time import run

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.poller import Poller, Steps
    from headgate_gateway.origin.client import Origin

Step = PollResult | Exception | tuple[float, PollResult | Exception]

BROKEN = OriginBroken("broken")
SILENT = OriginTimeout("silent")


def news(end: str, cursor: str | None = None, *, closed: bool = False) -> PollResult:
    return PollResult(end, cursor, b"data", "text/plain", closed, caught_up=True)


def nothing(end: str, *, closed: bool = False) -> PollResult:
    return PollResult(end, None, b"", "", closed, caught_up=True)


GONE = CannotFollow(StreamNotFound("deleted"))


class Asked:
    """A request of a play, which can be abandoned."""

    def __init__(self, play: Play, task: asyncio.Task[None]) -> None:
        self._play = play
        self._task = task

    def abandon(self) -> None:
        self._play.cancelled += self._task.cancel()


class Play:
    """An origin that plays steps and then is silent, and one who hears of it: a transcript."""

    requests = RequestsInFlight(1)

    def __init__(self, *steps: Step, chance: float = 0.5) -> None:
        self._steps = list(steps)
        self._chance = chance
        self.transcript: list[tuple[object, ...]] = []
        self.times: list[float] = []  # of the polls
        self.chances = 0
        self.cancelled = 0
        self._is_over = asyncio.Event()
        self._lost: Exception | None = None

    def steps_to_answer(self, asked: PollQuestion) -> Steps:
        self.transcript.append(("poll" if asked.waits else "read", asked.start, asked.cursor))
        self.times.append(asyncio.get_running_loop().time())
        yield PollerRequest(b"", "/v1/stream/s", asked.waits)
        step = self._steps.pop(0)
        assert isinstance(step, PollResult | CannotFollow), "others do not answer"
        if isinstance(step, CannotFollow):
            raise step
        return step

    def start(self, request: OriginRequest, receiver: AnswerReceiver, /) -> Asked:
        asked = request.method, request.target, request.fields, request.body
        assert asked == ("GET", "/v1/stream/s", b"", b"")
        assert request.is_poll == (self.transcript[-1][0] == "poll")
        return Asked(self, asyncio.get_running_loop().create_task(self._answer(receiver)))

    async def _answer(self, receiver: AnswerReceiver) -> None:
        if not self._steps:
            await asyncio.Event().wait()
        if isinstance(self._steps[0], tuple) and not isinstance(self._steps[0], PollResult):
            seconds, self._steps[0] = self._steps[0]
            await asyncio.sleep(seconds)
        step = self._steps[0]
        if isinstance(step, Exception) and not isinstance(step, CannotFollow):
            receiver.on_failure(self._steps.pop(0))  # type: ignore[arg-type] # the same
        else:  # the origin says what the play has next
            receiver.on_answer(OriginAnswer(200, b"", (), None, {}, ConnectionHistory()))

    def on_answer(self, start: str, polled: PollResult) -> None:
        self.transcript.append(("answered", start, polled))
        if polled.closed and polled.caught_up:
            self._is_over.set()

    def on_hold(self) -> None:
        self.transcript.append(("holds",))

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        self.transcript.append(("unsure",) if quietly else ("failed", reason))

    def end(self, reason: HeadgateError) -> None:
        self.transcript.append(("end", reason))
        self._is_over.set()

    def doubt(self) -> None:
        raise AssertionError("each answer belongs to its request")

    def on_error(self, error: Exception) -> None:
        self._lost = error
        self._is_over.set()

    def chance(self) -> float:
        self.chances += 1
        return self._chance

    def begun(self) -> OriginPollLoop:
        return OriginPollLoop(cast("Origin", self), cast("Poller", self), "0", self, self.chance)

    async def to_the_end(self) -> None:
        self.begun()
        await self._is_over.wait()
        if self._lost is not None:
            raise self._lost
        await asyncio.sleep(LONGEST_BACKOFF_S)  # it asks no more

    async def for_a_while(self, seconds: float) -> int:
        """Follow, and stop; how many polls were given up then."""
        following = self.begun()
        await asyncio.sleep(seconds)
        following.stop()
        await asyncio.sleep(LONGEST_BACKOFF_S)
        return self.cancelled

    @property
    def pauses(self) -> list[float]:
        """Between one poll and the next."""
        return [
            round(later - earlier, 6)
            for earlier, later in zip(self.times, self.times[1:], strict=False)
        ]


def played(*steps: Step, chance: float = 0.5) -> Play:
    play = Play(*steps, chance=chance)
    run(play.to_the_end())
    return play


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [
        (1, 0.0, 0.1),
        (1, 0.5, 0.15),
        (2, 0.0, 0.2),
        (2, 1.0, 0.4),
        (3, 0.5, 0.6),
        (4, 0.0, 0.8),
        (5, 0.0, 1.6),
        (6, 0.0, 2.5),
        (6, 1.0, 5.0),
        (10, 0.0, 2.5),
        (11, 1.0, 5.0),
        (10**6, 1.0, 5.0),
    ],
)
def test_follower_pauses_double_up_to_the_longest(
    failures: int, chance: float, seconds: float
) -> None:
    assert backoff_s(failures, chance) == pytest.approx(seconds)


def test_each_poll_begins_at_the_end_of_the_one_before() -> None:
    first, second, last = news("1", "c1"), news("2"), news("3", closed=True)
    play = played(first, second, last)
    assert play.transcript == [
        ("poll", "0", None),
        ("answered", "0", first),
        ("poll", "1", "c1"),
        ("answered", "1", second),
        ("poll", "2", None),
        ("answered", "2", last),
    ]
    assert (play.pauses, play.chances) == ([0, 0], 0)


def test_a_stream_closed_before_its_tail_is_polled_to_its_end() -> None:
    before = news("1", closed=True)._replace(caught_up=False)
    last = nothing("1", closed=True)
    assert played(before, last).transcript[-2:] == [("poll", "1", None), ("answered", "1", last)]


def test_a_follower_stops_when_its_stream_is_gone() -> None:
    play = played(news("1"), GONE)
    assert play.transcript[-2:] == [("poll", "1", None), ("end", GONE.reason)]


def test_the_first_failures_of_a_follower_are_not_reported() -> None:
    end = nothing("0", closed=True)
    play = played(*[BROKEN] * QUIET_FAILURES, end)
    again = [("unsure",), ("read", "0", None)] * QUIET_FAILURES
    assert play.transcript == [("poll", "0", None), *again, ("answered", "0", end)]


def test_each_failure_after_the_quiet_ones_is_reported() -> None:
    play = played(*[BROKEN] * QUIET_FAILURES, SILENT, BROKEN, GONE)
    told = [line for line in play.transcript if line[0] in {"failed", "end"}]
    assert told == [("failed", SILENT), ("failed", BROKEN), ("end", GONE.reason)]


def test_a_success_resets_the_quiet_failures_and_the_pause() -> None:
    play = played(*[BROKEN] * QUIET_FAILURES, SILENT, news("1"), news("2"), BROKEN, GONE)
    assert [line for line in play.transcript if line[0] == "failed"] == [("failed", SILENT)]
    assert play.pauses[-1] == pytest.approx(backoff_s(1, 0.5))


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_a_failing_origin_is_polled_with_growing_pauses(chance: float) -> None:
    play = played(*[BROKEN] * 8, GONE, chance=chance)
    assert play.pauses == [round(backoff_s(failures, chance), 6) for failures in range(1, 9)]
    assert play.chances == 8


def test_the_first_request_after_a_failure_is_a_read_without_a_wait() -> None:
    """It may have lost the end of the stream, and would keep a poll there for ever."""
    first, missed, last = news("1", "c1"), news("2", "c2"), news("3", closed=True)
    play = played(first, BROKEN, missed, last)
    assert play.transcript == [
        ("poll", "0", None),
        ("answered", "0", first),
        ("poll", "1", "c1"),
        ("unsure",),
        ("read", "1", "c1"),
        ("answered", "1", missed),
        ("poll", "2", "c2"),
        ("answered", "2", last),
    ]


def test_an_empty_read_after_a_failure_is_followed_by_a_poll_at_once() -> None:
    play = played(BROKEN, nothing("0"), GONE)
    assert [line[0] for line in play.transcript] == [
        *("poll", "unsure", "read", "answered", "poll", "end"),
    ]
    assert play.pauses == [round(backoff_s(1, 0.5), 6), 0]


def test_a_slow_read_does_not_count_as_a_held_poll() -> None:
    play = played(BROKEN, (HOLDS_S * 5, nothing("0")), GONE)
    assert ("holds",) not in play.transcript


def test_an_origin_that_fails_polls_and_answers_reads_is_polled_with_growing_pauses() -> None:
    """Its reads are no sign that it can be followed."""
    steps: list[Step] = [BROKEN, nothing("0")]
    play = Play(*steps * 1000)
    run(play.for_a_while(60))
    assert play.pauses[::2][:8] == [round(backoff_s(failures, 0.5), 6) for failures in range(1, 9)]
    assert ("failed", BROKEN) in play.transcript
    assert len(play.times) < 60


def test_an_unexpected_exception_ends_the_follower_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        played(ZeroDivisionError())


def test_an_origin_that_answers_empty_at_once_is_polled_with_growing_pauses() -> None:
    play = Play(*[nothing("0")] * 1000)
    run(play.for_a_while(60))
    assert play.pauses[:8] == [round(backoff_s(barren, 0.5), 6) for barren in range(1, 9)]
    assert len(play.times) < 25


def test_an_origin_that_holds_its_polls_is_polled_again_without_a_pause() -> None:
    play = Play(*[(HOLDS_S + 0.5, nothing("0"))] * 4)
    run(play.for_a_while(7))
    assert play.pauses == [HOLDS_S + 0.5] * 4
    assert play.chances == 0


def test_news_reset_the_pause_after_empty_responses() -> None:
    play = played(nothing("0"), nothing("0"), news("1"), nothing("1"), GONE)
    one, two = (backoff_s(barren, 0.5) for barren in (1, 2))
    assert play.pauses == [round(one, 6), round(two, 6), 0, round(one, 6)]


def test_empty_responses_with_a_new_offset_are_followed_without_a_pause() -> None:
    play = played(nothing("1"), nothing("2"), GONE)
    assert play.pauses == [0, 0]


@pytest.mark.parametrize(("seconds", "told"), [(HOLDS_S - 0.01, 0), (HOLDS_S + 0.01, 1), (30, 1)])
def test_a_poll_counts_as_held_after_holds_s_seconds(seconds: float, told: int) -> None:
    play = played((seconds, news("1")), GONE)
    assert play.transcript.count(("holds",)) == told
    if told:
        assert play.transcript[:2] == [("poll", "0", None), ("holds",)]


def test_each_held_poll_is_reported_once() -> None:
    play = played((2, news("1")), (2, nothing("1")), (2, BROKEN), GONE)
    assert play.transcript.count(("holds",)) == 3


@pytest.mark.parametrize(
    ("failures", "seconds", "ended"),
    [(0, HOLDS_S / 2, 1), (0, HOLDS_S * 5, 1), (1, FIRST_BACKOFF_S / 2, 0)],
)
def test_a_follower_that_is_stopped_ends_its_poll_and_sends_no_further_one(
    failures: int, seconds: float, ended: int
) -> None:
    play = Play(*[BROKEN] * failures)
    assert run(play.for_a_while(seconds)) == ended
    assert len(play.times) == 1
