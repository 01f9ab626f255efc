"""A worker: it waits for events, races for claims, and hands out what it gets as jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import secrets
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

import msgspec

from headgate import following
from headgate.endpoint import (
    IDLE_TIMEOUT_S,
    check_timeout,
    checked_base,
    checked_headers,
)
from headgate.errors import ABSENT, StreamError, Unavailable, check_number
from headgate.misuse import ForAsyncio, checks_keywords
from headgate.names import path_url, stream_url
from headgate.retries import Backoff, Retries
from headgate.shielding import shielded
from headgate.stream_requests import StreamRequests
from headgate.workers.documents import ClaimedWake, SubscriptionDocument, WakeEvent, decoded
from headgate.workers.job import JSON_FIELDS, Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

    import aiohttp

    from headgate.endpoint import Authorization

log = logging.getLogger("headgate")

LAST_WAIT_S = 2.0  # for the response to a claim, when nobody wants the job any more
STOP_GRACE_S = 20.0  # Kubernetes and systemd kill after 30 and 90 seconds
# After a job that failed; other workers may try it meanwhile.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# After a request that the server did not answer, or a wake stream that is not there.
WAITS_S = 0.1, 30.0
# Others work on it, or nobody has to: the next event tells more.
NO_JOB = frozenset({"ALREADY_CLAIMED", "NO_PENDING_WORK"})


class Worker(ForAsyncio):
    """A worker that claims the pending work of pull-wake subscriptions.

    ```python
    async with headgate.Worker("http://127.0.0.1:4437/v1/stream", "pool") as worker:
        async for job in worker:
            async with job:
                for stream in job.pending:
                    async for message in stream.messages():
                        print(stream.name, message)
    ```

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
        session: The aiohttp session of the requests; without one, the worker makes its own.

    Raises:
        ValueError: There is no subscription, or a number is out of its range.
    """

    @checks_keywords
    def __init__(  # noqa: PLR0913 - one for each option
        self,
        url: str,
        *subscription_ids: str,
        name: str | None = None,
        concurrency: int = 1,
        stop_grace: float = STOP_GRACE_S,
        authorization: Authorization | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        if not subscription_ids:
            raise ValueError("a worker has the id of a subscription: Worker(url, id)")
        for kind in map(type, subscription_ids):
            if not issubclass(kind, str):
                raise TypeError(
                    f"an id of a subscription is a str, not {kind.__name__}: write worker(*ids)"
                )
        check_number("concurrency", concurrency, 1, is_whole=True)
        check_number("stop_grace", stop_grace)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._concurrency = concurrency
        self._stop_grace_s = stop_grace
        check_timeout("timeout", timeout)
        self._base = StreamRequests(
            checked_base(url),
            authorization=authorization,
            headers=checked_headers(headers),
            timeout=timeout,
            session=session,
        )
        self._pauses = {
            it: Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, random.random) for it in subscription_ids
        }
        self._waits = Backoff(*WAITS_S, random.random)  # of claims that are not answered
        # From when on each subscription may be claimed that has, or may have, pending work.
        self._due: dict[str, float] = {}
        self._jobs: set[Job] = set()
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None  # while the block runs
        self._is_stopping = False
        self._interrupting: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._base.__aenter__()
        self._changed = asyncio.Event()  # of this event loop
        self._due.clear()
        self._following = asyncio.create_task(self._follow_all())
        self._following.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(self, *error: object) -> None:
        # The block may be entered again, also in another event loop. A `stop` from here on, as by a
        # signal, is for that one.
        self._is_stopping = False
        if self._interrupting is not None:
            self._interrupting.cancel()
        task, self._following = self._following, None
        if task is None:
            return
        try:
            task.cancel()
            # What it failed with, `_next_job` has raised, or nobody waits for.
            await asyncio.gather(task, return_exceptions=True)
            for job in list(self._jobs):
                await job._give_back()
        finally:
            self._jobs.clear()
            await self._base.__aexit__(*error)

    async def __aiter__(self) -> AsyncGenerator[Job]:
        """Yield jobs until `stop` is called; the loop enters and leaves the block if needed."""
        async with self._opened():
            while (job := await self._next_job()) is not None:
                yield job
                if self._concurrency == 1 and not job._is_entered:
                    async with job:  # the turn of the loop was its block
                        pass

    async def run(self, handle: Callable[[Job], Awaitable[object]]) -> None:
        """Call `handle` for each job, `concurrency` of them at once, until `stop` is called.

        Each call is in the block of its job: what it has read is acknowledged when it returns, and
        the job is released when it raises an exception.

        Args:
            handle: A function of a job, which is async unless it is for threads.

        Raises:
            StreamError: The server refuses the worker, for example as a subscription was
                deleted.
        """

        async def work(job: Job) -> None:
            async with job:
                await handle(job)

        async with self._opened(), _task_group() as group:
            while (job := await self._next_job()) is not None:
                group.create_task(work(job))

    def stop(self) -> None:
        """Claim nothing more: the loop, or `run`, ends when the jobs under way have ended.

        Jobs that take longer than `stop_grace` are released. Call it in the event loop, as
        `loop.add_signal_handler(signal.SIGTERM, worker.stop)` does; with threads, in any of them,
        or in a handler of signals.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        self._changed.set()
        loop = asyncio.get_running_loop()
        self._interrupting = loop.call_later(self._stop_grace_s, self._interrupt)

    def _opened(self) -> contextlib.AbstractAsyncContextManager[object]:
        return self if self._following is None else contextlib.nullcontext()

    def _interrupt(self) -> None:
        for job in self._jobs:
            job._interrupt()

    async def _next_job(self) -> Job | None:
        """Return the next job as soon as there is one; None once the worker stops."""
        while not self._is_stopping:
            if self._following is not None and self._following.done():
                self._following.result()  # raises
            subscription_id = None
            if len(self._jobs) < self._concurrency:
                subscription_id = self._next_id()
            if subscription_id is None:
                await self._wait()
            elif (job := await self._claim(subscription_id)) is not None:
                return job
        return None

    def _next_id(self) -> str | None:
        """Return a subscription that is to be claimed now, or None."""
        now = asyncio.get_running_loop().time()
        for subscription_id, moment in self._unclaimed():
            if moment <= now:
                del self._due[subscription_id]
                return subscription_id
        return None

    def _unclaimed(self) -> list[tuple[str, float]]:
        """Return what is due and is no job yet, in the order in which it became due."""
        claimed = {job.subscription_id for job in self._jobs}
        return [it for it in self._due.items() if it[0] not in claimed]

    async def _wait(self) -> None:
        """Wait for an event, the end of a job or of the worker, or the end of a pause."""
        now = asyncio.get_running_loop().time()
        later = [moment for _, moment in self._unclaimed() if moment > now]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(later, default=None)):
                await self._changed.wait()
        self._changed.clear()

    def _wake(self, subscription_ids: Iterable[str]) -> None:
        """Make subscriptions due, unless they are in a pause."""
        for subscription_id in subscription_ids:
            if subscription_id in self._pauses:
                self._due.setdefault(subscription_id, 0.0)
        self._changed.set()

    def _postpone(self, subscription_id: str, pause_s: float) -> None:
        """Claim a subscription again after a pause, also if no event comes."""
        self._due[subscription_id] = asyncio.get_running_loop().time() + pause_s

    async def _claim(self, subscription_id: str) -> Job | None:
        """Race for the claim; a worker that is cancelled or stopped meanwhile gives it back."""
        claiming = asyncio.create_task(self._claimed(subscription_id))
        try:
            job = await shielded(claiming)
        except asyncio.CancelledError:
            await asyncio.wait([claiming], timeout=LAST_WAIT_S)
            claiming.cancel()
            raise  # the end of the worker releases the job
        if job is None or not self._is_stopping:
            return job
        await job._give_back()
        self._jobs.discard(job)
        return None

    async def _claimed(self, subscription_id: str) -> Job | None:
        control = self._base.beside(_control_url(self._base.url, subscription_id))
        clock = asyncio.get_running_loop().time
        claimed_at = clock()
        body = msgspec.json.encode({"worker": self.name})
        claim_at = control.beside(f"{control.url}/claim")
        try:
            async with claim_at.request("POST", headers=JSON_FIELDS, body=body) as answer:
                wake = decoded(await answer.read(), ClaimedWake, claim_at.shown)
        except StreamError as refusal:
            self._check_passing(subscription_id, refusal)
            return None
        self._waits.reset()
        lease_s = wake.lease_ttl_ms / 1000
        ack_at = control.with_token(f"{control.url}/ack", wake.token)
        lease = lease_s, claimed_at + lease_s
        job = Job(subscription_id, wake, self._base, ack_at, lease, self._on_end)
        self._jobs.add(job)
        return job

    def _check_passing(self, subscription_id: str, refusal: StreamError) -> None:
        """Claim again later what may pass, and raise other refusals."""
        if refusal.code in NO_JOB:
            self._waits.reset()
            return
        if not isinstance(refusal, Unavailable):
            raise refusal
        wait_s = max(self._waits.next_s(), refusal.retry_after)
        log.warning("%s; trying again in %.1f s", refusal, wait_s)
        self._postpone(subscription_id, wait_s)

    def _on_end(self, job: Job) -> None:
        if job not in self._jobs:
            return  # it was released before
        self._jobs.remove(job)
        pauses = self._pauses[job.subscription_id]
        if job._has_progress:
            pauses.reset()
        else:
            self._postpone(job.subscription_id, pauses.next_s())
        self._changed.set()

    async def _follow_all(self) -> None:
        """Make each subscription due now, and with each event of its wake stream; return never.

        Raises StreamError for what does not pass, and ValueError for another subscription.
        """
        streams: dict[str, list[str]] = {}
        for subscription_id in self._pauses:
            path = await _wake_stream(self._base, subscription_id)
            streams.setdefault(path, []).append(subscription_id)
        async with _task_group() as group:
            for path, subscription_ids in streams.items():
                stream = self._base.beside(path_url(self._base.url, path))
                group.create_task(self._follow(stream, subscription_ids))

    async def _follow(self, stream: StreamRequests, subscription_ids: Iterable[str]) -> None:
        absences = Backoff(*WAITS_S, random.random)
        while True:
            try:
                # First the tail, then the claims: no event falls in between.
                tail = (await _retries().run(stream.head)).next_offset
                self._wake(subscription_ids)
                async with aclosing(following.follow(stream, tail)) as batches:
                    async for batch in batches:
                        absences.reset()
                        for body in batch.bodies:
                            events = decoded(body, list[WakeEvent], stream.shown)
                            self._wake(event.subscription_id for event in events)
                reason = "the wake stream is closed"
            except ABSENT as refusal:
                reason = str(refusal)
            wait_s = absences.next_s()
            log.warning("%s; looking again in %.1f s", reason, wait_s)
            await asyncio.sleep(wait_s)


def _control_url(base: str, subscription_id: str) -> str:
    """Return the URL of a subscription of the streams below `base`."""
    return stream_url(path_url(base, "__ds/subscriptions"), subscription_id)


async def _wake_stream(base: StreamRequests, subscription_id: str) -> str:
    """Return the wake stream of a subscription. Raises ValueError where it has none."""
    control = base.beside(_control_url(base.url, subscription_id))

    async def attempt() -> bytes:
        async with control.request("GET") as answer:
            return await answer.read()

    body = await _retries().run(attempt)
    found = decoded(body, SubscriptionDocument, control.shown).wake_stream
    if found is None:
        raise ValueError(f"{control.shown}: a worker is for pull-wake subscriptions")
    return found


def _retries() -> Retries:
    return Retries(math.inf, WAITS_S, log.warning)


@contextlib.asynccontextmanager
async def _task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """Run a group of tasks, and raise the first of its errors alone."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
