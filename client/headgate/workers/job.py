"""A job: a wake that this process has a lease for, and the streams that it is about."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

import msgspec
from typing_extensions import override

from headgate import following
from headgate.errors import ABSENT, Conflict, Fenced, StreamError
from headgate.misuse import ForAsyncio
from headgate.names import BEGINNING, path_url
from headgate.retries import Backoff, Retries
from headgate.sending.framing import JSON, is_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from types import TracebackType

    from headgate.endpoint import Endpoint
    from headgate.following import Batch
    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate")

# The present wake is another one, or there is none any more.
LOST = frozenset({"FENCED", "TOKEN_INVALID", "TOKEN_EXPIRED", "SUBSCRIPTION_NOT_FOUND"})
JSON_FIELDS = {"Content-Type": JSON}  # of requests about leases
WAITS_S = 0.05, 2.0  # a lease may be as short as a second
RESPONSE_TIMEOUT_S = 10.0
RELEASE_FOR_S = 5.0  # a lease that cannot be released in this time expires by itself
EXTENSIONS = 3  # in the time of a lease: one that fails is repeated in time


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream as a wake describes it."""

    path: str
    acked_offset: str
    tail_offset: str
    has_pending: bool
    closed: bool = False
    trimmed: bool = False
    first_offset: str | None = None


class LeasedWake(msgspec.Struct, frozen=True, kw_only=True):
    """A wake: claimed by a worker, or sent to a webhook."""

    wake_id: str
    generation: int
    streams: tuple[StreamInfo, ...]
    partial: bool = False


class JobStream:
    """A stream of a job.

    Attributes:
        name: The name of the stream, below the URL of the worker.
        acked_offset: The offset up to which all is acknowledged; `-1` for the beginning.
        tail_offset: The tail of the stream when the job was claimed.
        has_pending: Whether the stream has events that are not acknowledged.
        is_closed: Whether the stream is closed.
        is_trimmed: Whether the beginning of what is pending was removed by retention.
    """

    def __init__(self, info: StreamInfo, job: Job, requests: StreamRequests) -> None:
        self.name = info.path
        self.acked_offset = info.acked_offset
        self.tail_offset = info.tail_offset
        self.has_pending = info.has_pending
        self.is_closed = info.closed
        self.is_trimmed = info.trimmed
        self._begin = (info.first_offset if info.trimmed else None) or info.acked_offset
        self._job = job
        self._requests = requests
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
                self._position = batch.offset
                if batch.bodies:
                    yield batch
                    self._check_interrupted()

    async def messages(self) -> AsyncGenerator[Any]:
        """Yield the pending messages of a JSON stream, one by one.

        Messages come in batches, and a batch counts as read when the message after it is
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
                        self._check_interrupted()
                self._position = batch.offset

    async def ack(self, offset: str | None = None) -> None:
        """Acknowledge the stream now, and extend the lease.

        Args:
            offset: The offset to acknowledge, inclusive. By default this is as far as the job has
                read; if it has not read the stream, the tail that the stream had at the claim.

        Raises:
            Fenced: The job is another worker's by now.
            Conflict: The offset is none of this stream, or less than what is acknowledged.
        """
        await self._job._ack({self: offset or self._position or self.tail_offset})

    def _note_acked(self, offset: str) -> None:
        """Note that the server has stored an acknowledgement."""
        self._has_progress = self._has_progress or offset != self._acked or self._is_closing
        self._acked = offset
        self._is_closing = False

    def _check_interrupted(self) -> None:
        """Raise Fenced once the job is over: nothing cancels its block where that is a thread's."""
        if self._job._is_interrupted:
            raise Fenced(
                "the lease was lost, or the worker has stopped", stream=self._requests.shown
            )

    async def _batches(self) -> AsyncGenerator[tuple[str, Batch]]:
        """Yield batches with their content types, up to the tail in the wake."""
        self._check_interrupted()
        begin = self._position = self._position or self._begin
        try:
            async with aclosing(following.catch_up(self._requests, begin)) as batches:
                async for content_type, batch in batches:
                    yield content_type, batch
                    # Offsets are ordered as texts. What came later is for the next wake.
                    if batch.offset >= self.tail_offset != BEGINNING:
                        return
        except ABSENT:
            return  # nothing of it is pending any more


class Job(ForAsyncio):
    """The pending work of a subscription, which this worker has a lease for.

    ```python
    async with job:
        for stream in job.pending:
            async for message in stream.messages():
                ...
    ```

    The lease is extended for as long as the block runs. The end of the block acknowledges what was
    read. If the block raises an exception, nothing more is acknowledged, the exception is logged,
    the lease is released, and the same work comes again after a growing pause. If the lease is
    lost, or the worker stops and `stop_grace` is over, the block is cancelled at its next `await`,
    and the program goes on after the block; in a thread, the next message raises `Fenced`.

    Attributes:
        subscription_id: The id of the subscription.
        wake_id: The id of the wake; the same work after a crash may have another one.
        generation: The number of the wake, which grows.
        streams: The streams of the subscription.
        is_partial: Whether only streams with pending events are in `streams`, as there are many.
    """

    def __init__(
        self,
        subscription_id: str,
        wake: LeasedWake,
        base: StreamRequests,
        ack_at: Endpoint,
        lease: tuple[float, float],
        on_end: Callable[[Job], None],
    ) -> None:
        """Extend the lease from now on.

        `base` has the URL below which the streams are. `ack_at` takes acknowledgements, with the
        token of the wake as its credential. `lease` has the seconds of a lease, and the time on the
        clock of the event loop until which it is sure.
        """
        self.subscription_id = subscription_id
        self.wake_id = wake.wake_id
        self.generation = wake.generation
        self.is_partial = wake.partial
        self.streams = tuple(
            JobStream(info, self, base.beside(path_url(base.url, info.path)))
            for info in wake.streams
        )
        self._ack_at = ack_at
        self._lease_s, self._until = lease
        self._on_end = on_end
        self._is_lost = False  # the lease, against our will
        self._has_ended = False  # the lease, by us
        self._is_interrupted = False  # once the lease was lost, or the worker cannot wait longer
        self._is_entered = False  # whether its block has begun
        self._block: asyncio.Timeout | None = None  # which cancels the block, while it runs
        self._extending = asyncio.get_running_loop().create_task(self._extend())

    @override
    def __repr__(self) -> str:
        return f"<Job {self.subscription_id} generation {self.generation}>"

    @property
    def pending(self) -> list[JobStream]:
        """The streams that have events which are not acknowledged; none once the lease is lost."""
        return [stream for stream in self.streams if stream.has_pending and not self.is_lost]

    @property
    def is_lost(self) -> bool:
        """True once the lease was lost: another worker may have the same work."""
        return self._is_lost

    @property
    def _has_progress(self) -> bool:
        """True once anything was acknowledged."""
        return any(stream._has_progress for stream in self.streams)

    async def ack(self) -> None:
        """Acknowledge now what was read of all streams, and extend the lease.

        Raises:
            Fenced: The job is another worker's by now.
        """
        await self._ack(self._acks())

    async def release(self) -> None:
        """Give the job back without acknowledging more: the work comes again after a pause."""
        if not (self._has_ended or self._is_lost):
            self._has_ended = True
            await self._send({}, is_done=True, for_s=RELEASE_FOR_S)

    def _interrupt(self) -> None:
        """Cancel the block of the job; the program goes on after it."""
        if not self._is_interrupted:
            self._is_interrupted = True
            if self._block is not None:
                self._block.reschedule(0)

    async def _give_back(self) -> None:
        """Interrupt the job and release it; a lease that cannot be released expires."""
        self._interrupt()
        with contextlib.suppress(StreamError, RuntimeError):  # the client may be closed
            await self.release()

    async def __aenter__(self) -> Self:
        self._is_entered = True
        self._block = asyncio.timeout_at(0 if self._is_interrupted else None)
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        was_interrupted = False  # and not cancelled by others as well
        block, self._block = self._block, None
        assert block is not None, "the block was entered"
        try:
            await block.__aexit__(kind, error, traceback)
        except TimeoutError:
            was_interrupted = True
        try:
            await self._end(error)
        except StreamError as failure:  # the work comes again
            log.warning("%r ends otherwise than it should: %s", self, failure)
        finally:
            self._on_end(self)
        return was_interrupted or isinstance(error, Exception)

    async def _end(self, error: BaseException | None) -> None:
        """Acknowledge what a block has read that ends without an error, or release its lease."""
        if self._has_ended or self._is_lost:
            if isinstance(error, Exception):
                log.warning("%r has no lease any more, and failed", self, exc_info=error)
        elif error is None:
            await self._finish()
        else:
            if isinstance(error, StreamError):  # it says what was wrong, and so of what stream
                log.error("%r failed and is released: %s", self, error)
            elif isinstance(error, Exception):
                log.error("%r failed and is released", self, exc_info=error)
            with contextlib.suppress(RuntimeError):  # the client may be closed
                await self.release()

    async def _finish(self) -> None:
        acks = self._acks()
        try:
            await self._send(acks, is_done=True)
        except Conflict:
            # A stream was deleted or created again since it was read: the others count.
            for stream, offset in acks.items():
                try:
                    await self._send({stream: offset})
                except Conflict as refusal:
                    log.warning("%r: %s is not acknowledged: %s", self, stream.name, refusal)
            await self._send({}, is_done=True)
        self._has_ended = True
        if not self._has_progress:
            log.warning("%r has acknowledged nothing: its work comes again", self)

    def _acks(self) -> dict[JobStream, str]:
        offsets = {stream: stream._unacknowledged_offset for stream in self.streams}
        return {stream: offset for stream, offset in offsets.items() if offset is not None}

    async def _ack(self, acks: Mapping[JobStream, str]) -> None:
        if self._has_ended or self._is_lost:
            reason = "has been lost" if self._is_lost else "has ended"
            raise Fenced(f"the lease of the job {reason}", stream=self._ack_at.shown)
        await self._send(acks)

    async def _extend(self) -> None:
        longest_s = self._lease_s / EXTENSIONS
        pauses = Backoff(longest_s, longest_s, random.random)
        while True:
            await asyncio.sleep(pauses.next_s())
            try:
                await self._send({})
            except (StreamError, RuntimeError) as refusal:
                self._lose(refusal)
                return

    async def _send(
        self, acks: Mapping[JobStream, str], *, is_done: bool = False, for_s: float = math.inf
    ) -> None:
        """Acknowledge, and extend the lease or end it; without acks, that releases it.

        The request is repeated until it succeeds, `for_s` seconds are over, or the lease must be
        over. Raises Fenced if it is lost.
        """
        if is_done:
            self._extending.cancel()
        document = {
            "wake_id": self.wake_id,
            "generation": self.generation,
            "acks": [{"stream": stream.name, "offset": offset} for stream, offset in acks.items()],
            "done": is_done,
        }
        body = msgspec.json.encode(document)
        clock = asyncio.get_running_loop().time
        idle_s = min(RESPONSE_TIMEOUT_S, self._lease_s / 2)  # leaves time for another attempt

        async def attempt() -> None:
            until = clock() + self._lease_s
            async with self._ack_at.request("POST", headers=JSON_FIELDS, body=body, idle_s=idle_s):
                self._until = until

        left_s = min(max(0.0, self._until - clock()), for_s)
        try:
            await Retries(left_s, WAITS_S, log.warning, hurries=True).run(attempt)
        except StreamError as refusal:
            if refusal.code not in LOST:
                raise
            self._lose(refusal)
            raise Fenced(f"the lease of the job was lost: {refusal}") from refusal
        for stream, offset in acks.items():
            stream._note_acked(offset)

    def _lose(self, refusal: Exception) -> None:
        if not (self._is_lost or self._has_ended):
            self._is_lost = True
            log.warning("the lease of a job was lost: %s", refusal)
            self._interrupt()
