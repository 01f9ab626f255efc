"""Workers for threads: jobs of pull-wake subscriptions, worked on in threads.

Made by `python -m scripts.sync_twins` from `headgate.workers.job`, `headgate.workers.worker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import headgate.runs.runs
import headgate.workers.job
import headgate.workers.worker
from headgate.endpoint import IDLE_TIMEOUT_S
from headgate.misuse import checks_keywords
from headgate.sync.loop_thread import iterated
from headgate.sync.twins import ThreadWorker, Twin
from headgate.workers.worker import STOP_GRACE_S

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Iterator,
        Mapping,
    )

    from headgate.endpoint import Authorization
    from headgate.following import Batch


class JobStream(Twin["headgate.workers.job.JobStream"]):
    """A stream of a job.

    Attributes:
        name: The name of the stream, below the URL of the worker.
        acked_offset: The offset up to which all is acknowledged; `-1` for the beginning.
        tail_offset: The tail of the stream when the job was claimed.
        has_pending: Whether the stream has events that are not acknowledged.
        is_closed: Whether the stream is closed.
        is_trimmed: Whether the beginning of what is pending was removed by retention.
    """

    def __init__(self, twin: headgate.workers.job.JobStream) -> None:
        """Use `Job.streams`."""
        super().__init__(twin)
        self.name = self._twin.name
        self.acked_offset = self._twin.acked_offset
        self.tail_offset = self._twin.tail_offset
        self.has_pending = self._twin.has_pending
        self.is_closed = self._twin.is_closed
        self.is_trimmed = self._twin.is_trimmed

    def read(self) -> Iterator[Batch]:
        """Yield the pending data in batches, up to the tail that the stream had at the claim.

        A stream that was deleted meanwhile has none. Call it again to read on.

        Yields:
            A batch, which counts as read as soon as it is yielded.

        Raises:
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        return iterated(self._twin.read())

    def messages(self) -> Iterator[Any]:
        """Yield the pending messages of a JSON stream, one by one.

        Messages come in batches, and a batch counts as read when the message after it is
        requested. So what is acknowledged in between may be less than you have seen, never more.

        Raises:
            TypeError: The stream is not a JSON stream; `read` has its data.
            Fenced: The job is another worker's by now, or the worker has stopped.
        """
        return iterated(self._twin.messages())

    def ack(self, offset: str | None = None) -> None:
        """Acknowledge the stream now, and extend the lease.

        Args:
            offset: The offset to acknowledge, inclusive. By default this is as far as the job has
                read; if it has not read the stream, the tail that the stream had at the claim.

        Raises:
            Fenced: The job is another worker's by now.
            Conflict: The offset is none of this stream, or less than what is acknowledged.
        """
        self._call(lambda twin: twin.ack(offset))


class Job(Twin["headgate.workers.job.Job"]):
    """The pending work of a subscription, which this worker has a lease for.

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

    def __init__(self, twin: headgate.workers.job.Job) -> None:
        """Use `Worker`."""
        super().__init__(twin)
        self.subscription_id = self._twin.subscription_id
        self.wake_id = self._twin.wake_id
        self.generation = self._twin.generation
        self.streams = tuple(map(JobStream, self._twin.streams))
        self.is_partial = self._twin.is_partial

    @property
    def pending(self) -> list[JobStream]:
        """The streams that have events which are not acknowledged; none once the lease is lost."""
        return [it for it in self.streams if it.has_pending and not self.is_lost]

    @property
    def is_lost(self) -> bool:
        """True once the lease was lost: another worker may have the same work."""
        return self._twin.is_lost

    def ack(self) -> None:
        """Acknowledge now what was read of all streams, and extend the lease.

        Raises:
            Fenced: The job is another worker's by now.
        """
        self._call(lambda twin: twin.ack())

    def release(self) -> None:
        """Give the job back without acknowledging more: the work comes again after a pause."""
        self._call(lambda twin: twin.release())


class Worker(ThreadWorker):
    """A worker that claims the pending work of pull-wake subscriptions.

    The loop gives one job after the other, and ends when `stop` is called. `run` works on several
    subscriptions at once. Any number of workers may have the same subscriptions: each job goes to
    one of them. Pending work is claimed at the start, and then as events come in the wake stream,
    which is read on through any number of lost connections.

    Args:
        url: The URL below which the streams are, as `http://HOST:PORT/v1/stream`.
        subscription_ids: The ids of one or more pull-wake subscriptions.
        name: What other workers get as `current_holder`; by default host, pid and a random part.
        concurrency: How many jobs there are at once; 1 by default. A subscription is one job at a
            time, so more than there are subscriptions is of no use.
        stop_grace: Seconds for which jobs go on after `stop`, before they are released, and
            cancelled or, in threads, ended by `Fenced` at their next message; 20 by default.
        authorization: The value of the `Authorization` field, or a function that returns it. It
            needs the permissions that the subscriber needed.
        headers: Other header fields of all requests.
        timeout: Seconds that a response may take to begin, and each of its parts; 60 by default.
            Live reads have another one, and so have requests about a lease.

    Raises:
        ValueError: There is no subscription, or a number is out of its range.
    """

    @checks_keywords
    def __init__(
        self,
        url: str,
        *subscription_ids: str,
        name: str | None = None,
        concurrency: int = 1,
        stop_grace: float = STOP_GRACE_S,
        authorization: Authorization | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
    ) -> None:
        super().__init__(
            headgate.workers.worker.Worker(
                url,
                *subscription_ids,
                name=name,
                concurrency=concurrency,
                stop_grace=stop_grace,
                authorization=authorization,
                headers=headers,
                timeout=timeout,
            )
        )

    def __iter__(self) -> Iterator[Job]:
        """Yield jobs until `stop` is called; the loop enters and leaves the block if needed."""
        return map(Job, self._jobs())

    def run(self, handle: Callable[[Job], object]) -> None:
        """Call `handle` for each job, `concurrency` of them at once, until `stop` is called.

        Each call is in the block of its job: what it has read is acknowledged when it returns, and
        the job is released when it raises an exception.

        Args:
            handle: A function of a job, which is async unless it is for threads.

        Raises:
            StreamError: The server refuses the worker, for example as a subscription was
                deleted.
        """
        self._run(lambda job: handle(Job(job)))

    def stop(self) -> None:
        """Claim nothing more: the loop, or `run`, ends when the jobs under way have ended.

        Jobs that take longer than `stop_grace` are released. Call it in the event loop, as
        `loop.add_signal_handler(signal.SIGTERM, worker.stop)` does; with threads, in any of them,
        or in a handler of signals.
        """
        self._get(lambda twin: twin.stop())
