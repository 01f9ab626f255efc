"""The readers of an answer that is stopped once nobody reads it any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeAlias

from headgate.dialects.progress import EarlyEnd

if TYPE_CHECKING:
    from headgate_gateway.features.models.answer import WrittenAnswer
    from headgate_gateway.features.models.answers import ModelAnswers
    from headgate_gateway.features.models.provider.requests import AnswerRequest
    from headgate_gateway.web.requests.request import Request

# Longer than a client takes to come back after its connection broke, or between two polls.
UNREAD_S = 5.0
LOOK_S = 0.5  # between two looks at the readers of the stream
UNREAD = EarlyEnd("answer_left", f"nobody has read the answer for {UNREAD_S:g} seconds")


Leave: TypeAlias = Literal["stop-unnamed", "stop", "go-on"]


def is_stopped_unread(request: AnswerRequest, leave: Leave) -> bool:
    """Return whether an answer is stopped once nobody reads it, by the setting `leave`."""
    is_named = request.idempotency_key or request.stream
    stops = leave == "stop" or (leave == "stop-unnamed" and not is_named)
    return stops and not request.in_background


class AnswerReaders:
    """The readers of one answer here: those at its route, and live ones of its stream."""

    def __init__(self, answer: WrittenAnswer, answers: ModelAnswers) -> None:
        """Stop the answer once nobody has read it for UNREAD_S, unless its route is closing."""
        self._answer = answer
        self._answers = answers
        self._count = 0  # at the route
        self._is_over = False
        self._read_at = 0.0  # loop time at which it was read last
        self._next_look: asyncio.TimerHandle | None = None

    def begin(self, request: Request) -> None:
        """Count one more request at the route, until its end."""
        self._count += 1
        self._look_no_more()
        request.call_at_end(self._leave)

    def _leave(self) -> None:
        """Count one less; begin to look for readers of the stream if that was the last one."""
        self._count -= 1
        if not self._count and not self._is_over:
            self._read_at = asyncio.get_running_loop().time()
            self._look()

    def close(self) -> None:
        """Look no further: the answer is over, and the next one may be in its stream."""
        self._is_over = True
        self._look_no_more()

    def _look_no_more(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._has_live_readers():
            self._read_at = loop.time()
        if loop.time() < self._read_at + UNREAD_S:
            self._next_look = loop.call_later(LOOK_S, self._look)
        elif not self._answers.is_closing:
            self._answer.stop(UNREAD)

    def _has_live_readers(self) -> bool:
        streams = self._answer.streams
        active = streams.route.table.peek(streams.full_name(self._answer.name))
        return active is not None and any(feed.has_readers for feed in active.feeds)
