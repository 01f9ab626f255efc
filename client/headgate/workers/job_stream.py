"""The streams of a job, read from what was acknowledged to the tail in its wake."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following
from headgate.errors import ABSENT, Fenced
from headgate.sending.framing import is_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.following import Batch
    from headgate.stream_requests import StreamRequests
    from headgate.workers.claims import StreamInfo
    from headgate.workers.wake_lease import WakeLease


class JobStream:
    """A stream of a job.

    Attributes:
        name: The name of the stream, below the URL of the worker.
        acked_offset: The offset up to which all is acknowledged; `-1` for the beginning.
        tail_offset: The tail of the stream when the job was claimed.
        has_pending: Whether the stream has events that are not acknowledged.
        is_closed: Whether the stream is closed.
        is_trimmed: Whether the beginning of what is pending was removed by retention.
        stream: The stream, to read it in another way or to append to it.
    """

    def __init__(self, info: StreamInfo, stream: StreamRequests, lease: WakeLease) -> None:
        self.name = info.path
        self.acked_offset = info.acked_offset
        self.tail_offset = info.tail_offset
        self.has_pending = info.has_pending
        self.is_closed = info.closed
        self.is_trimmed = info.trimmed
        self.stream = stream
        self._begin = (info.first_offset if info.trimmed else None) or info.acked_offset
        self._lease = lease
        self._is_interrupted = False  # where the job is worked on in a thread, nothing cancels it
        self._position: str | None = None  # up to which the job has read
        self._acked = info.acked_offset
        self._has_progress = False  # whether something of it was acknowledged
        self._is_closing = info.closed and info.acked_offset == info.tail_offset

    @property
    def _unacknowledged_offset(self) -> str | None:
        """The offset that the end of the job acknowledges; None if there is nothing to."""
        is_new = self._position is not None and (self._position != self._acked or self._is_closing)
        return self._position if is_new else None

    async def read(self) -> AsyncGenerator[Batch]:
        """Yield the pending data in batches, up to the tail that the stream had at the claim.

        A stream that was deleted meanwhile has none. Call it again to read on.

        Yields:
            A batch, which counts as read as soon as it is yielded.

        Raises:
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        async with aclosing(self._batches()) as batches:
            async for _, batch in batches:
                self._position = batch.position.offset
                if batch.bodies:
                    yield batch
                    self._check_lease()

    async def messages(self) -> AsyncGenerator[Any]:
        """Yield the pending messages of a JSON stream, one by one.

        Messages come in batches, and a batch counts as read when the message behind it is
        requested. So what is acknowledged in between may be less than you have seen, never more.

        Raises:
            TypeError: The stream is not a JSON stream; `read` has its data.
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        async with aclosing(self._batches()) as batches:
            async for content_type, batch in batches:
                if not is_json(content_type):
                    raise TypeError(
                        f"{self.name} has the content type {content_type}, and messages() is for"
                        " JSON streams: use read()"
                    )
                for body in batch.bodies:
                    for message in msgspec.json.decode(body):
                        yield message
                        self._check_lease()
                self._position = batch.position.offset

    async def ack(self, offset: str | None = None) -> None:
        """Acknowledge the stream now, and extend the lease.

        Args:
            offset: The offset to acknowledge, inclusive. By default this is as far as the job has
                read; if it has not read the stream, the tail that the stream had at the claim.

        Raises:
            Fenced: The job is another worker's by now.
            Conflict: The offset is none of this stream, or less than what is acknowledged.
        """
        if offset is None:
            offset = self._position or self.tail_offset
        await self._lease.ack({self.name: offset})
        self._note_acked(offset)

    def _note_acked(self, offset: str) -> None:
        """Note that the server has stored an acknowledgement."""
        self._has_progress = self._has_progress or offset != self._acked or self._is_closing
        self._acked = offset
        self._is_closing = False

    def _check_lease(self) -> None:
        if self._is_interrupted:
            raise Fenced("the lease was lost, or the worker has stopped", stream=self.stream.shown)

    async def _batches(self) -> AsyncGenerator[tuple[str, Batch]]:
        """Yield batches with their content types, up to the tail in the wake."""
        begin = self._position = self._position or self._begin
        try:
            async with aclosing(following.catch_up(self.stream, begin)) as batches:
                async for content_type, batch in batches:
                    yield content_type, batch
                    # Offsets are ordered as texts. What came later is for the next wake.
                    if batch.position.offset >= self.tail_offset != "-1":
                        return
        except ABSENT:
            return  # nothing of it is pending any more
