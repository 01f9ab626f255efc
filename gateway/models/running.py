"""The answers that run now and have readers here, of all routes of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ClientLimitReached, LimitReached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.models.live_answer import LiveAnswer


class AnswerBounds(NamedTuple):
    """The most answers that run at once, in all and for one owner."""

    running: int
    running_of_owner: int


class AnswerPlaces:
    """The places of answers that run at once, of which one owner has some at most."""

    def __init__(self, bounds: AnswerBounds) -> None:
        self.refused_requests = 0
        self._bounds = bounds
        self._taken = 0
        self._owners: Counter[bytes] = Counter()

    def acquire(self, owner: bytes) -> None:
        """Take a place for an owner; b"" is nobody. Raises LimitReached, ClientLimitReached."""
        if self._taken >= self._bounds.running:
            self.refused_requests += 1
            raise LimitReached("max_answers is reached: as many answers run as may at once")
        if owner and self._owners[owner] >= self._bounds.running_of_owner:
            self.refused_requests += 1
            raise ClientLimitReached("max_client_answers is reached: wait for an answer to end")
        self._taken += 1
        self._owners[owner] += 1

    def release(self, owner: bytes) -> None:
        """Give back a place of an owner."""
        self._taken -= 1
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]


class RunningAnswers:
    """The running answers, and those that are being looked up, by the paths of their streams.

    They outlive their route: after a reload, a request with the same key finds them here.
    """

    def __init__(self) -> None:
        self.answers: dict[str, LiveAnswer] = {}
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
    async def looked_up(self, path: str) -> AsyncIterator[LiveAnswer | None]:
        """Enter with the running answer at a path; with None, others wait until the block ends."""
        while (running := self.answers.get(path)) is None:
            opening = self.opening.get(path)
            if opening is None:
                with self.reserved(path):
                    yield None
                return
            await asyncio.wait([opening])
        yield running

    def stop(self, path: str, stream_id: int) -> None:
        """Stop the answer whose stream was deleted, if it is written here."""
        if (answer := self.answers.get(path)) is not None:
            answer.stop_deleted(stream_id)
