"""A job: a claimed wake, whose block acknowledges it, or releases it when the work fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from headgate.errors import Conflict, StreamError
from headgate.names import path_url
from headgate.workers.job_stream import JobStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from headgate.stream_requests import StreamRequests
    from headgate.workers.claims import ClaimedWake
    from headgate.workers.wake_lease import WakeLease

log = logging.getLogger("headgate")


class Job:
    """The pending work of a subscription, which this worker has a lease for.

    ```python
    async with job:
        for stream in job.pending:
            async for message in stream.messages():
                ...
    ```

    The lease is extended for as long as the block runs. The end of the block acknowledges what was
    read. If the block raises an exception, nothing more is acknowledged, the exception is logged,
    the lease is released, and the same work comes again behind a growing pause. If the lease is
    lost, or the worker stops and `stop_grace` is over, the block is cancelled at its next `await`,
    and the program goes on after the block.

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
        claim: ClaimedWake,
        base: StreamRequests,
        lease: WakeLease,
        on_end: Callable[[Job], None],
    ) -> None:
        """Extend the lease from now on; `base` has the URL below which the streams are."""
        self.subscription_id = subscription_id
        self.wake_id = claim.wake_id
        self.generation = claim.generation
        self.is_partial = claim.partial
        self.streams = tuple(
            JobStream(info, base.beside(path_url(base.url, info.path)), lease)
            for info in claim.streams
        )
        self._lease = lease
        self._on_end = on_end
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0  # of the task, before the block
        # Once the lease was lost, or the worker has stopped and cannot wait any longer.
        self._is_interrupted = self._is_cancelled = False
        self.is_entered = False  # whether its block has begun
        lease.on_lost = self._interrupt
        lease.start()

    @override
    def __repr__(self) -> str:
        return f"<Job {self.subscription_id} generation {self.generation}>"

    @property
    def pending(self) -> list[JobStream]:
        """The streams that have events which are not acknowledged."""
        return [stream for stream in self.streams if stream.has_pending]

    @property
    def is_lost(self) -> bool:
        """True once the lease was lost: another worker may have the same work."""
        return self._lease.is_lost

    @property
    def _has_progress(self) -> bool:
        """True once anything was acknowledged."""
        return any(stream._has_progress for stream in self.streams)

    async def ack(self) -> None:
        """Acknowledge now what was read of all streams, and extend the lease.

        Raises:
            Fenced: The job is another worker's by now.
        """
        acks = self._acks()
        await self._lease.ack({stream.name: offset for stream, offset in acks.items()})
        self._note(acks)

    async def release(self) -> None:
        """Give the job back without acknowledging more: the work comes again behind a pause."""
        await self._lease.release()

    def _interrupt(self) -> None:
        """Cancel the block of the job; the program goes on after it."""
        if not self._is_interrupted:
            self._is_interrupted = True
            for stream in self.streams:
                stream._is_interrupted = True
            self._cancel_soon()

    def _cancel_soon(self) -> None:
        # Not now: a task that cancels itself is cancelled later, perhaps after the block.
        asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._cancellations = task.cancelling()
        self._task, self.is_entered = task, True
        if self._is_interrupted:
            self._cancel_soon()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        is_own = False  # whether the block was cancelled by `interrupt` alone
        if self._is_cancelled and task is not None:
            is_own = task.uncancel() <= self._cancellations
            is_own = is_own and isinstance(error, asyncio.CancelledError)
        await self._leave(error)
        return is_own or isinstance(error, Exception)

    async def _leave(self, error: BaseException | None) -> None:
        """End the job as a block that ends by this error, or by none; nothing is raised."""
        try:
            await self._end(error)
        finally:
            self._on_end(self)

    async def _end(self, error: BaseException | None) -> None:
        """Acknowledge or release; what goes wrong is logged, as the work comes again."""
        try:
            if not self._lease.is_open:
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    log.warning("%r has no lease any more, and failed", self, exc_info=error)
            elif error is None:
                await self._finish()
            else:
                if isinstance(error, StreamError):  # it says what was wrong, and so of what stream
                    log.error("%r failed and is released: %s", self, error)
                elif isinstance(error, Exception):
                    log.error("%r failed and is released", self, exc_info=error)
                await self._lease.release()
        except StreamError as failure:
            log.warning("%r ends otherwise than it should: %s", self, failure)

    async def _finish(self) -> None:
        acks = self._acks()
        try:
            await self._lease.finish({stream.name: offset for stream, offset in acks.items()})
        except Conflict:
            # A stream was deleted or created again since it was read: the others count.
            await self._finish_singly(acks)
        else:
            self._note(acks)
        if not self._has_progress:
            log.warning("%r has acknowledged nothing: its work comes again", self)

    async def _finish_singly(self, acks: dict[JobStream, str]) -> None:
        for stream, offset in acks.items():
            try:
                await self._lease.ack({stream.name: offset})
            except Conflict as refusal:
                log.warning("%r: %s is not acknowledged: %s", self, stream.name, refusal)
            else:
                self._note({stream: offset})
        await self._lease.finish({})

    def _acks(self) -> dict[JobStream, str]:
        offsets = {stream: stream._unacknowledged_offset for stream in self.streams}
        return {stream: offset for stream, offset in offsets.items() if offset is not None}

    def _note(self, acks: dict[JobStream, str]) -> None:
        for stream, offset in acks.items():
            stream._note_acked(offset)


async def give_back(jobs: Iterable[Job]) -> None:
    """Interrupt jobs and release them; a lease that cannot be released expires."""
    for job in list(jobs):
        job._interrupt()
        with contextlib.suppress(StreamError):
            await job.release()
