"""The body of a response with an answer: the stored events, then new ones, each with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.models.sse_events import NumberedEvents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.models.streams import AnswerStreams


class FollowableAnswer(Protocol):
    """An answer as its readers see it."""

    @property
    def name(self) -> str:
        """The name of its stream."""

    @property
    def is_over(self) -> bool:
        """True when nothing more will be appended."""

    def bytes_after(self, position: int, /) -> bytes | None:
        """Return the durable bytes after a position; None if they have to be read from the log."""

    async def wait_beyond(self, position: int, /) -> None:
        """Return once there are durable bytes after a position, or the answer is over."""


class AnswerBody:
    """The events of an answer from `position` on, up to its end."""

    def __init__(
        self,
        answer: FollowableAnswer,
        streams: AnswerStreams,
        position: int,
        offset_of: Callable[[int], str],
    ) -> None:
        self._answer = answer
        self._streams = streams
        self._position = position
        self._offset_of = offset_of

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield whole events. Raises HeadgateError if the log cannot be read."""
        answer, position = self._answer, self._position
        ids = NumberedEvents(position, self._offset_of)
        while True:
            is_over = answer.is_over  # before the read: what is appended after it is read next time
            data = answer.bytes_after(position)
            if data is None:
                data = await self._streams.read(answer.name, self._offset_of(position))
            if data:
                position += len(data)
                if events := ids.feed(data):
                    yield events
            elif is_over:
                break
            else:
                await answer.wait_beyond(position)
        if rest := ids.rest():
            yield rest

    def release(self) -> None:
        """Do nothing: the answer goes on without this reader."""
