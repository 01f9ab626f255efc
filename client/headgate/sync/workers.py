"""Workers for threads: jobs of pull-wake subscriptions, worked on in the threads of the caller."""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

import headgate.workers
from headgate.errors import Fenced
from headgate.sync.loop_thread import current
from headgate.workers.worker import STOP_GRACE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from types import TracebackType

    from headgate.endpoint import Authorization
    from headgate.following import Batch
    from headgate.sync.loop_thread import LoopThread

log = logging.getLogger("headgate")

_T = TypeVar("_T")


class JobStream:
    """A stream of a job, for threads.

    Attributes:
        path: The name of the stream, below the URL of the worker.
        acked_offset: The offset up to which all is acknowledged; `-1` for the beginning.
        tail_offset: The tail of the stream when the job was claimed.
        has_pending: Whether the stream has events that are not acknowledged.
        is_closed: Whether the stream is closed.
        is_trimmed: Whether the beginning of what is pending was removed by retention.
    """

    def __init__(
        self, stream: headgate.workers.JobStream, job: headgate.workers.Job, thread: LoopThread
    ) -> None:
        self._stream, self._job, self._thread = stream, job, thread
        self.path = stream.path
        self.acked_offset = stream.acked_offset
        self.tail_offset = stream.tail_offset
        self.has_pending = stream.has_pending
        self.is_closed = stream.is_closed
        self.is_trimmed = stream.is_trimmed

    def read(self) -> Iterator[Batch]:
        """Yield the pending data in batches, up to the tail that the stream had at the claim.

        A stream that was deleted meanwhile has none. Call it again to read on.

        Yields:
            A batch, which counts as read as soon as it is yielded.

        Raises:
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        return self._iterated(self._stream.read())

    def messages(self) -> Iterator[Any]:
        """Yield the pending messages of a JSON stream, one by one.

        Messages come in batches, and a batch counts as read when the message behind it is
        requested. So what is acknowledged in between may be less than you have seen, never more.

        Raises:
            TypeError: The stream is not a JSON stream; `read` has its data.
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        return self._iterated(self._stream.messages())

    def ack(self, offset: str | None = None) -> None:
        """Acknowledge the stream now, and extend the lease.

        Args:
            offset: The offset to acknowledge, inclusive. By default this is as far as the job has
                read; if it has not read the stream, the tail that the stream had at the claim.

        Raises:
            Fenced: The job is another worker's by now.
            Conflict: The offset is none of this stream, or less than what is acknowledged.
        """
        self._thread.call(self._stream.ack, offset)

    def _iterated(self, items: AsyncGenerator[_T]) -> Iterator[_T]:
        async def following() -> tuple[_T] | None:
            # In a tuple, as None may be an item.
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        try:
            while (item := self._thread.call(following)) is not None:
                if self._job.is_interrupted:
                    raise Fenced(f"{self._job!r}: the lease was lost, or the worker has stopped")
                yield item[0]
        finally:
            self._thread.call(items.aclose)


class Job:
    """The pending work of a subscription, which this worker has a lease for, for threads.

    ```python
    with job:
        for stream in job.pending:
            for message in stream.messages():
                ...
    ```

    The lease is extended for as long as the block runs. The end of the block acknowledges what was
    read. If the block raises an exception, nothing more is acknowledged, the exception is logged,
    the lease is released, and the same work comes again behind a growing pause. If the lease is
    lost, or the worker stops and `stop_grace` is over, the next message raises `Fenced`.

    Attributes:
        subscription: The id of the subscription.
        wake_id: The id of the wake; the same work after a crash may have another one.
        generation: The number of the wake, which grows.
        streams: The streams of the subscription.
        is_partial: Whether only streams with pending events are in `streams`, as there are many.
    """

    def __init__(self, job: headgate.workers.Job, thread: LoopThread) -> None:
        self._job, self._thread = job, thread
        self.subscription = job.subscription
        self.wake_id = job.wake_id
        self.generation = job.generation
        self.streams = tuple(JobStream(stream, job, thread) for stream in job.streams)
        self.is_partial = job.is_partial

    @property
    def pending(self) -> list[JobStream]:
        """The streams that have events which are not acknowledged."""
        return [stream for stream in self.streams if stream.has_pending]

    @property
    def is_lost(self) -> bool:
        """True once the lease was lost: another worker may have the same work."""
        return self._job.is_lost

    def ack(self) -> None:
        """Acknowledge now what was read of all streams, and extend the lease.

        Raises:
            Fenced: The job is another worker's by now.
        """
        self._thread.call(self._job.ack)

    def release(self) -> None:
        """Give the job back without acknowledging more: the work comes again behind a pause."""
        self._thread.call(self._job.release)

    def __enter__(self) -> Self:
        self._job.is_entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._thread.call(self._job.finish, error)
        return isinstance(error, Exception)


class Worker:
    """A worker for threads that claims the pending work of pull-wake subscriptions.

    ```python
    with headgate.sync.Worker("http://127.0.0.1:4437/v1/stream", "pool") as worker:
        for job in worker:
            with job:
                for stream in job.pending:
                    for message in stream.messages():
                        print(stream.path, message)
    ```

    The loop gives one job after the other, and ends when `stop` is called. `run` works on several
    subscriptions at once, each in a thread.

    Args:
        url: The URL below which the streams are, as `http://HOST:PORT/v1/stream`.
        subscriptions: The ids of one or more pull-wake subscriptions.
        name: The name of the worker, which other workers are told as `current_holder`; by default
            it is made of the host's name, the process id and a random part.
        concurrency: How many jobs there are at once; 1 by default. A subscription is one job at a
            time, so more than there are subscriptions is of no use.
        stop_grace: Seconds for which jobs go on after `stop`, before their next message raises
            `Fenced`; 20 by default.
        authorization: The value of the `Authorization` field, or a function that returns it.
        note: A function called with a sentence for each retry; by default a warning in the log.

    Raises:
        ValueError: There is no subscription, or a number is out of its range.
    """

    def __init__(
        self,
        url: str,
        *subscriptions: str,
        name: str | None = None,
        concurrency: int = 1,
        stop_grace: float = STOP_GRACE_S,
        authorization: Authorization | None = None,
        note: Callable[[str], None] = log.warning,
    ) -> None:
        self._worker = headgate.workers.Worker(
            url,
            *subscriptions,
            name=name,
            concurrency=concurrency,
            stop_grace=stop_grace,
            authorization=authorization,
            note=note,
        )
        self.name = self._worker.name
        self._concurrency = concurrency
        self._opened_in: LoopThread | None = None

    def __enter__(self) -> Self:
        thread = current()
        thread.enter(self._worker)
        self._opened_in = thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._opened_in = self._opened_in, None
        if thread is not None:
            thread.leave(self._worker, kind, error, traceback)

    def __iter__(self) -> Iterator[Job]:
        """Yield jobs until `stop` is called; the loop enters and leaves the block if needed."""
        with self._opened() as thread:
            while (job := thread.call(self._worker.next_job)) is not None:
                yield Job(job, thread)
                if self._concurrency == 1 and not job.is_entered:
                    thread.call(job.finish, None)  # the turn of the loop was its block

    def run(self, handle: Callable[[Job], object]) -> None:
        """Call `handle` for each job, `concurrency` of them at once, until `stop` is called.

        Each call is in the block of its job: what it has read is acknowledged when it returns, and
        the job is released when it raises an exception.

        Args:
            handle: A function of a job, which is called in a thread of a pool.

        Raises:
            StreamError: The server refuses the worker, for example as a subscription was
                deleted.
        """

        def work(job: Job) -> None:
            with job:
                handle(job)

        with self._opened() as thread, ThreadPoolExecutor(self._concurrency) as pool:
            while (job := thread.call(self._worker.next_job)) is not None:
                pool.submit(work, Job(job, thread))

    def stop(self) -> None:
        """Claim nothing more: the loop, or `run`, ends when the jobs under way have ended.

        Jobs that take longer than `stop_grace` are released at their next message. Call it in any
        thread, or in a handler of signals.
        """
        if self._opened_in is not None:
            self._opened_in.post(self._worker.stop)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[LoopThread]:
        with contextlib.ExitStack() as block:
            if self._opened_in is None:
                block.enter_context(self)
            thread = self._opened_in
            assert thread is not None, "the block was entered"
            if thread is not current():
                raise RuntimeError("this worker belongs to the process that opened it")
            yield thread
