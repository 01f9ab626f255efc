"""The answers that this process writes now, of all its model routes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.models.answer import DELETED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.models.answer import WrittenAnswer


class RunningAnswers:
    """The running answers, and those that are being looked up, by the paths of their streams.

    They outlive their route: after a reload, a request with the same key finds them here.
    """

    def __init__(self) -> None:
        self.answers: dict[str, WrittenAnswer] = {}
        self.opening: dict[str, asyncio.Future[None]] = {}

    @contextlib.contextmanager
    def reserved(self, path: str) -> Iterator[None]:
        """Make other requests for the answer at a path wait until the block ends."""
        opened = self.opening[path] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self.opening[path]
            opened.set_result(None)

    @contextlib.asynccontextmanager
    async def looked_up(self, path: str) -> AsyncIterator[WrittenAnswer | None]:
        """Enter with the running answer at a path; with None, others wait until the block ends."""
        while (running := self.answers.get(path)) is None:
            opening = self.opening.get(path)
            if opening is None:
                with self.reserved(path):
                    yield None
                return
            await asyncio.wait([opening])
        yield running

    def stop(self, path: str) -> None:
        """Stop the answer whose stream was deleted, if it runs here.

        What ends before its stream is created is an earlier one that had expired.
        """
        answer = self.answers.get(path)
        if answer is not None and answer.has_streams:
            answer.stop(DELETED)
