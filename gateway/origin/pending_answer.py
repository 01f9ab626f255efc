"""An awaitable for the answer to a request of the raw way, for handlers."""

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
    """The future answer to one request: an `AnswerReceiver` that a handler awaits.

    A handler that is cancelled meanwhile has to call `cancel`; `answer_of` does so.
    """

    __slots__ = ("question",)
    question: PendingRequest

    def on_answer(self, answer: WholeAnswer) -> None:
        """Resume the handler with a whole answer."""
        self.set_result(answer)

    def on_partial_answer(self, answer: OriginAnswer) -> None:
        """Resume the handler with an answer that is long, or not plain."""
        self.set_result(answer)

    def on_failure(self, error: HeadgateError) -> None:
        """Raise the error in the handler."""
        self.set_exception(error)

    def cancel(self) -> None:
        """Abandon the request, or release an answer that has come meanwhile."""
        if not self.done():
            self.question.abandon()
        elif self.exception() is None:
            self.result().release()


async def answer_of(sent: Awaitable[AnyAnswer]) -> AnyAnswer:
    """Return the answer; if the caller is cancelled, abandon the request.

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
    """Send a request, and return its future answer.

    Return None, and send nothing, if the raw way cannot be used: it has no connection, or there is
    no `block` of the request's fields.
    """
    if block is None:
        return None
    waiting = PendingOriginAnswer()
    question = raw.send(method, target, block, body or b"", waiting)
    if question is None:
        return None
    waiting.question = question
    return waiting
