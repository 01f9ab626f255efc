"""Follows one stream at its origin: one long-poll after the other, whatever happens to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.backoff import wait_s

from gateway.cache.directives import again_s
from gateway.errors import HeadgateError, OriginBroken, OriginBusy, StreamGone, StreamNotFound
from gateway.protocol.repair import is_nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


class Question(NamedTuple):
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


async def follow(
    start: str,
    request: Callable[[Question], Awaitable[Polled]],
    observer: Observer,
    chance: Callable[[], float],
) -> None:
    """Until the stream is closed or gone; to be cancelled when nobody follows it any more.

    `request` raises CannotFollow, or the HeadgateError of a failure that may pass.
    """
    question = Question(start, None, waits=True)
    failures = barren = 0
    while True:
        try:
            polled, was_held = await _answer(request, question, observer)
        except CannotFollow as end:
            observer.end(end.reason)
            return
        except HeadgateError as error:
            failures += 1
            observer.failed(error, quietly=failures <= QUIET_FAILURES)
            await asyncio.sleep(backoff_s(failures, chance()))
            # What comes back may have lost the stream's end, and would keep a poll for ever.
            question = question._replace(waits=False)
            continue
        observer.answered(question.start, polled)
        if polled.closed and polled.caught_up:
            return
        if question.waits:
            failures = 0
            # An origin that neither waits nor has news must not be asked as fast as it answers.
            barren = 0 if was_held or polled.end != question.start else barren + 1
            if barren:
                await asyncio.sleep(backoff_s(barren, chance()))
        question = Question(polled.end, polled.cursor, waits=True)


async def _answer(
    request: Callable[[Question], Awaitable[Polled]], question: Question, observer: Observer
) -> tuple[Polled, bool]:
    """The answer, and whether it was waited for."""
    task = asyncio.ensure_future(request(question))
    try:
        done, _ = await asyncio.wait([task], timeout=HOLDS_S if question.waits else None)
        if not done:
            observer.holds()
        return await task, not done
    finally:
        task.cancel()


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
