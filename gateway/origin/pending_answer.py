"""A handler that waits for an answer of the raw way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.later import Later

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.errors import HeadgateError
    from gateway.origin.raw_way import RawWay
    from gateway.origin.response import OriginAnswer
    from gateway.origin.whole_answer import AnyAnswer, PendingRequest, WholeAnswer


class PendingOriginAnswer(Later["AnyAnswer"]):
    """An answer of an origin that a handler waits for. Of an Asker.

    Who is cancelled while they await it has to `cancel`; `answer_of` does.
    """

    __slots__ = ("question",)
    question: PendingRequest

    def answered(self, answer: WholeAnswer) -> None:
        """Give a whole answer."""
        self.set_result(answer)

    def began(self, answer: OriginAnswer) -> None:
        """Give an answer that is long, or not plain."""
        self.set_result(answer)

    def failed(self, error: HeadgateError) -> None:
        """Raise that there is none."""
        self.set_exception(error)

    def cancel(self) -> None:
        """Give up the question, or its answer, which came as nobody waited any more."""
        if not self.done():
            self.question.abandon()
        elif self.exception() is None:
            self.result().release()


async def answer_of(sent: Awaitable[AnyAnswer]) -> AnyAnswer:
    """Return the answer, or leave where it is waited for in vain.

    Raises OriginTimeout, OriginBroken and CancelledError.
    """
    try:
        return await sent
    except asyncio.CancelledError:
        if isinstance(sent, PendingOriginAnswer):
            sent.cancel()
        raise
    finally:
        del sent  # its error has this frame: both would stay in memory


def send(
    raw: RawWay, method: str, target: str, block: bytes | None, body: bytes | None
) -> PendingOriginAnswer | None:
    """Send a request, and return what its answer is awaited by.

    Return None, and do nothing, where the raw way is not for it, or there is no `block` of its
    fields.
    """
    if block is None:
        return None
    waiting = PendingOriginAnswer()
    question = raw.send(method, target, block, body or b"", waiting)
    if question is None:
        return None
    waiting.question = question
    return waiting
