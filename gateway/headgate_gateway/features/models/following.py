"""The body of a response with an answer: the stored events, then new ones, each with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.dialects.progress import EarlyEnd
from headgate.events import events_of
from headgate_gateway.errors import StreamGone
from headgate_gateway.features.models.live_answer import with_ids
from headgate_gateway.protocol.bodies.content import HEARTBEAT
from headgate_gateway.routes.answers import PushingSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headgate_gateway.features.models.live_answer import Answer
    from headgate_gateway.features.models.streams import AnswerStreams


REFUSED = EarlyEnd(
    "access_ended", "the client was disconnected, or has lost the right to read this answer"
)


class AnswerBody(PushingSource):
    """The events of an answer from `position` on, up to its end."""

    def __init__(
        self,
        answer: Answer,
        streams: AnswerStreams,
        position: int,
        offset_of: Callable[[int], str],
    ) -> None:
        self.position = position  # sent up to it
        self.offset_of = offset_of
        self._answer = answer
        self._streams = streams
        self._write: Callable[[bytes], bool] | None = None
        self._is_refused = False

    def refuse(self) -> None:
        """End the body with an event which says that its client may not read on."""
        self._is_refused = True
        self._answer.wake_readers()

    @override
    def push_to(self, write: Callable[[bytes], bool]) -> None:
        """Write events with `write` that come while the next part is awaited."""
        self._write = write

    def push(self, events: bytes, position: int) -> bool:
        """Send the next events, up to a position; return whether the client keeps up."""
        if self._write is None or not self._write(events):
            return False
        self.position = position
        return True

    @override
    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the events after the position. Raises HeadgateError if the log cannot be read."""
        answer = self._answer
        while True:
            if self._is_refused:
                yield answer.request.dialect.failure_event(REFUSED, answer.next_number())
                return
            is_over = answer.is_over  # before the read: what is appended after it is read next time
            begin = self.position
            unread = answer.position - begin
            if unread > 0:
                found = answer.latest_after(begin) or await self._read(begin, unread)
                events = with_ids(found, begin, self.offset_of)
                self.position += sum(map(len, found))
            elif is_over and unread < 0:
                raise StreamGone("the log has lost what was sent of the answer")
            elif is_over:
                return
            else:
                await answer.wait_beyond(begin, self)
                if answer.position > self.position or answer.is_over:
                    continue
                # After a silence, for the client. It comes between events, because the beginning of
                # one is not sent before its end.
                events = HEARTBEAT
            yield events

    async def _read(self, position: int, longest: int) -> Sequence[bytes]:
        """Return stored events after a position, which are not longer. Raises HeadgateError."""
        data = await self._streams.read(self._answer.name, self.offset_of(position))
        return [*events_of(data[:longest])]  # reads end after whole events

    @override
    def release(self) -> None:
        """Do nothing: the answer goes on without this reader."""
