"""A handler that waits for an answer of the raw way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.later import Later

if TYPE_CHECKING:
    from gateway.errors import HeadgateError
    from gateway.origin.raw_way import RawWay
    from gateway.origin.response import OriginAnswer
    from gateway.origin.whole_answer import AnyAnswer, WholeAnswer


class Waiting(Later["AnyAnswer"]):
    """An answer of an origin that a handler waits for. Of an Asker."""

    __slots__ = ()

    def answered(self, answer: WholeAnswer) -> None:
        """Give a whole answer."""
        self.set_result(answer)

    def began(self, answer: OriginAnswer) -> None:
        """Give an answer that is long, or not plain."""
        self.set_result(answer)

    def failed(self, error: HeadgateError) -> None:
        """Raise that there is none."""
        self.set_exception(error)


async def answer_to(
    raw: RawWay, method: str, target: str, block: bytes | None, body: bytes
) -> AnyAnswer | None:
    """Return the answer to a request; None, and nothing is done, where the raw way is not for it.

    That is also where there is no `block` of its fields.

    Raises OriginTimeout and OriginBroken.
    """
    if block is None:
        return None
    waiting = Waiting()
    question = raw.ask(method, target, block, body, waiting)
    if question is None:
        return None
    try:
        return await waiting
    except asyncio.CancelledError:
        if not waiting.done():
            question.abandon()
        elif waiting.exception() is None:
            waiting.result().release()  # it came as its handler was cancelled
        raise
    finally:
        del waiting  # the traceback of its error has this frame: they would stay in memory together
