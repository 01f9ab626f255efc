"""A worker: it waits for events, races for claims, and hands out what it gets as jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Self

import msgspec

from headgate.endpoint import unlimited_session
from headgate.errors import StreamError, Unavailable, check_number
from headgate.misuse import checks_keywords
from headgate.stream_requests import StreamRequests
from headgate.workers.claims import ClaimedWake, decoded
from headgate.workers.job import Job, give_back
from headgate.workers.schedule import ClaimSchedule
from headgate.workers.wake_events import control_url, follow
from headgate.workers.wake_lease import JSON, WakeLease

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

    import aiohttp

    from headgate.endpoint import Authorization
    from headgate.workers.schedule import ClaimTurn

log = logging.getLogger("headgate")

LAST_WAIT_S = 2.0  # for the response to a claim, when nobody wants the job any more
STOP_GRACE_S = 20.0  # Kubernetes and systemd kill after 30 and 90 seconds
# Others work on it, or nobody has to: the next event tells more.
NO_JOB = frozenset({"ALREADY_CLAIMED", "NO_PENDING_WORK"})


class Worker:
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
        name: The name of the worker, which other workers get as `current_holder`; by default
            it is made of the host's name, the process id and a random part.
        concurrency: How many jobs there are at once; 1 by default. A subscription is one job at a
            time, so more than there are subscriptions is of no use.
        stop_grace: Seconds for which jobs go on after `stop`, before they are cancelled and
            released; 20 by default.
        authorization: The value of the `Authorization` field, or a function that returns it. It
            needs what the subscriber needed: a claim is judged as the subscription was.
        session: The aiohttp session of the requests; without one, the worker makes its own.

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
        self._subscription_ids = subscription_ids
        self._concurrency = concurrency
        self._stop_grace_s = stop_grace
        self._session = session
        self._base = StreamRequests(url, authorization=authorization)
        self._schedule = ClaimSchedule(subscription_ids)
        self._jobs: dict[Job, ClaimTurn] = {}
        self._block: contextlib.AsyncExitStack | None = None
        self._following: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._interrupting: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as block:
            session = self._session or await block.enter_async_context(unlimited_session())
            self._base = StreamRequests(
                self._base.url, authorization=self._base.authorization, session=session
            )
            block.push_async_callback(self._end)
            following = follow(self._base, self._schedule, self._subscription_ids)
            self._following = asyncio.create_task(following)
            self._following.add_done_callback(lambda _: self._schedule.notify())
            self._block = block.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block, self._block = self._block, None
        if block is not None:
            await block.aclose()

    async def __aiter__(self) -> AsyncGenerator[Job]:
        """Yield jobs until `stop` is called; the loop enters and leaves the block if needed."""
        async with self._opened():
            while (job := await self._next_job()) is not None:
                yield job
                if self._concurrency == 1 and not job.is_entered:
                    async with job:  # the turn of the loop was its block
                        pass

    async def run(self, handle: Callable[[Job], Awaitable[object]]) -> None:
        """Call `handle` for each job, `concurrency` of them at once, until `stop` is called.

        Each call is in the block of its job: what it has read is acknowledged when it returns, and
        the job is released when it raises an exception.

        Args:
            handle: An async function of a job.

        Raises:
            StreamError: The server refuses the worker, for example as a subscription was
                deleted.
        """

        async def work(job: Job) -> None:
            async with job:
                await handle(job)

        tasks: set[asyncio.Task[None]] = set()
        async with self._opened():
            try:
                while (job := await self._next_job()) is not None:
                    task = asyncio.create_task(work(job))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if tasks:
                    await asyncio.wait(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Claim nothing more: the loop, or `run`, ends when the jobs under way have ended.

        Jobs that take longer than `stop_grace` are cancelled and released. Call it in the event
        loop, as `loop.add_signal_handler(signal.SIGTERM, worker.stop)` does.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        self._schedule.notify()
        loop = asyncio.get_running_loop()
        self._interrupting = loop.call_later(self._stop_grace_s, self._interrupt)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        async with contextlib.AsyncExitStack() as block:
            if self._block is None:
                await block.enter_async_context(self)
            yield

    def _interrupt(self) -> None:
        for job in list(self._jobs):
            job._interrupt()

    async def _end(self) -> None:
        # The block may be entered again, also in another event loop. A `stop` from here on, as by a
        # signal, is for that one.
        self._is_stopping = False
        if self._interrupting is not None:
            self._interrupting.cancel()
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled():
                following.exception()  # `_next_job` has raised it, or nobody wants to know
        await give_back(self._jobs)
        self._schedule = ClaimSchedule(self._subscription_ids)

    async def _next_job(self) -> Job | None:
        """Return the next job as soon as there is one; None once the worker stops."""
        while not self._is_stopping:
            if self._following is not None and self._following.done():
                _raise_first(self._following.exception())
            turn = None
            if len(self._jobs) < self._concurrency:
                turn = self._schedule.next_turn()
            if turn is None:
                await self._schedule.wait()
            elif (job := await self._claim(turn)) is not None:
                return job
        return None

    async def _claim(self, turn: ClaimTurn) -> Job | None:
        """Race for the claim; a worker that is cancelled meanwhile gives it back."""
        claiming = asyncio.create_task(self._claimed(turn))
        try:
            job = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait([claiming], timeout=LAST_WAIT_S)
            claiming.cancel()
            raise  # the end of the worker releases the job
        if job is not None and self._is_stopping:
            self._on_end(job)
            with contextlib.suppress(StreamError):
                await job.release()
            return None
        return job

    async def _claimed(self, turn: ClaimTurn) -> Job | None:
        control = control_url(self._base.url, turn.subscription_id)
        endpoint = self._base.beside(f"{control}/claim")
        claimed_at = asyncio.get_running_loop().time()
        body = msgspec.json.encode({"worker": self.name})
        try:
            async with endpoint.request("POST", headers=JSON, body=body) as answer:
                claim = decoded(await answer.read(), ClaimedWake, endpoint.shown)
        except StreamError as refusal:
            self._check_passing(turn, refusal)
            return None
        turn.waits.reset()
        turn.is_claimed = True
        lease = WakeLease(control, self._base.session, claim, claimed_at)
        job = Job(turn.subscription_id, claim, self._base, lease, self._on_end)
        self._jobs[job] = turn
        return job

    def _check_passing(self, turn: ClaimTurn, refusal: StreamError) -> None:
        """Claim again later what may pass, and raise other refusals."""
        if refusal.code in NO_JOB:
            turn.waits.reset()
            return
        if not isinstance(refusal, Unavailable):
            raise refusal
        wait_s = max(turn.waits.next_s(), refusal.retry_after)
        log.warning("%s; trying again in %.1f s", refusal, wait_s)
        turn.postpone(wait_s)

    def _on_end(self, job: Job) -> None:
        turn = self._jobs.pop(job, None)
        if turn is None:
            return
        turn.is_claimed = False
        if job._has_progress:
            turn.pauses.reset()
        else:
            turn.postpone(turn.pauses.next_s())
        self._schedule.notify()


def _raise_first(failure: BaseException | None) -> None:
    """Raise the first of the errors in a group."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        raise failure
