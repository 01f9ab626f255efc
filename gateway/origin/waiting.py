"""A task that waits for an answer of the raw way.

That is one future, for 20 us where aiohttp's client takes 110.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.errors import HeadgateError
    from gateway.origin.raw_way import RawWay
    from gateway.origin.response import OriginAnswer
    from gateway.origin.whole_answer import AnyAnswer, WholeAnswer


class Waiting:
    """Who asks, and has a task wait for the answer. Of an Asker."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done: asyncio.Future[AnyAnswer] = asyncio.get_running_loop().create_future()

    def answered(self, answer: WholeAnswer) -> None:
        """The answer is whole."""
        if not self.done.cancelled():
            self.done.set_result(answer)

    def began(self, answer: OriginAnswer) -> None:
        """It is long, or not plain."""
        if self.done.cancelled():
            answer.release()
        else:
            self.done.set_result(answer)

    def failed(self, error: HeadgateError) -> None:
        """There is none."""
        if not self.done.cancelled():
            self.done.set_exception(error)

    async def answer(self) -> AnyAnswer:
        """The answer, once it is there. Raises the HeadgateError of why there is none."""
        try:
            return await self.done
        except asyncio.CancelledError:
            if self.done.done() and not self.done.cancelled() and not self.done.exception():
                self.done.result().release()  # it came as its task was cancelled
            raise


async def answer_to(
    raw: RawWay, method: str, target: str, headers: MultiMapping[str], body: bytes
) -> AnyAnswer | None:
    """The answer to a request; None, and nothing is done, where it is not for the raw way.

    Raises OriginTimeout and OriginBroken.
    """
    block = raw.block(headers)
    if block is None:
        return None
    waiting = Waiting()
    question = raw.ask(method, target, block, body, waiting)
    if question is None:
        return None
    try:
        return await waiting.answer()
    except asyncio.CancelledError:
        question.abandon()
        raise
