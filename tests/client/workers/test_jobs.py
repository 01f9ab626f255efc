"""Jobs of workers: what they read and acknowledge, and their leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from headgate import Conflict, Fenced, StreamNotFound, Unavailable, Worker, sync
from tests.client.workers.pools import Pool, messages_of
from tests.support.waiting import PATIENCE_S, until, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate import Job

NOWHERE = "http://127.0.0.1:1/v1/stream"


@contextlib.asynccontextmanager
async def next_job(work: Pool) -> AsyncIterator[Job]:
    """The block of the next job."""
    async with work.worker() as worker, await anext(aiter(worker)) as job:
        yield job


async def test_pending_work_is_acknowledged_at_the_end_and_a_refused_offset_ends_no_job(
    work: Pool,
) -> None:
    end = await work.append("a", {"n": 1}, {"n": 2})
    async with next_job(work) as job:
        (stream,) = job.pending
        assert (stream.name, stream.acked_offset) == (work.path("a"), "-1")
        assert (stream.tail_offset, stream.is_closed) == (end, False)
        with pytest.raises(Conflict, match="offset") as refused:
            await stream.ack("9999999999999999_9999999999999999")
        assert refused.value.code == "INVALID_OFFSET"
        assert await messages_of(job) == [{"n": 1}, {"n": 2}]
        assert await work.cursor("a") == "-1"
    assert await work.cursor("a") == end


@pytest.mark.parametrize("by", ["the end", "the job", "the stream", "the stream, unread"])
async def test_what_was_read_is_acknowledged_alone_and_stays_so_if_the_job_fails(
    work: Pool, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    end = await work.append("a", 1)
    await work.append("b", 1)
    async with next_job(work) as job:
        stream = next(it for it in job.pending if it.name == work.path("a"))
        if by != "the stream, unread":
            assert [message async for message in stream.messages()] == [1]
        if by != "the end":
            await (job if by == "the job" else stream).ack()
            raise RuntimeError if by == "the job" else Unavailable("the server is away")
    assert (await work.cursor("a"), await work.cursor("b")) == (end, "-1")
    logged = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert len(logged) == (by != "the end")
    if by == "the job":
        assert logged[0].exc_info
    elif logged:  # an error of a stream says what was wrong, and so in one line
        assert logged[0].getMessage().endswith(" failed and is released: the server is away")
        assert not logged[0].exc_info
    async with next_job(work) as job:
        assert [it.name for it in job.pending] == [work.path("b")]


async def test_messages_of_text_are_refused_and_its_data_is_read_in_batches(work: Pool) -> None:
    end = await work.append("a", "hello", content_type="text/plain")
    async with next_job(work) as job:
        (stream,) = job.pending
        with pytest.raises(TypeError, match="use read"):
            await messages_of(job)
        assert [batch.bodies async for batch in stream.read()] == [(b"hello",)]
    assert await work.cursor("a") == end


async def test_a_close_without_data_is_a_job_that_is_over_once_it_was_read(work: Pool) -> None:
    end = await work.append("a", 1)
    async with next_job(work) as job:
        await messages_of(job)
    await work.acknowledged("a", end)
    await work.stream(work.path("a")).close()
    async with next_job(work) as job:
        (stream,) = job.pending
        assert (stream.is_closed, await messages_of(job)) == (True, [])
    status, refusal = await work.claim()
    assert (status, refusal["error"]["code"]) == (409, "NO_PENDING_WORK")


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_stream_that_is_deleted_during_the_job_keeps_no_other_from_being_acknowledged(
    work: Pool, is_read: bool
) -> None:
    await work.append("a", 1)
    end = await work.append("b", 2)
    async with next_job(work) as job:
        read = await messages_of(job) if is_read else []
        await work.stream(work.path("a")).delete()
        assert (read or await messages_of(job)) == ([1, 2] if is_read else [2])
    assert await work.cursor("b") == end


async def test_the_work_of_a_failed_or_released_job_comes_again_behind_a_pause(work: Pool) -> None:
    await work.append("a", 1)
    times: list[float] = []

    async def fail(job: Job) -> None:
        times.append(time.monotonic())
        if len(times) == 2:
            await job.release()
            with pytest.raises(Fenced, match="has ended"):
                await job.ack()
        elif len(times) == 3:
            worker.stop()
        raise RuntimeError

    worker = work.worker()
    await worker.run(fail)
    assert times[1] - times[0] >= 0.5
    assert times[2] - times[1] >= 1.0
    assert await work.cursor("a") == "-1"


async def test_a_worker_that_blocks_its_event_loop_loses_the_lease_and_acknowledges_nothing(
    work: Pool,
) -> None:
    end = await work.append("a", 1)
    generations: list[int] = []

    async def handle(job: Job) -> None:
        await messages_of(job)
        generations.append(job.generation)
        fast.stop()

    async with work.worker(name="fast") as fast:
        async with next_job(work) as job:
            assert await messages_of(job) == [1]
            other = asyncio.create_task(fast.run(handle))
            time.sleep(1.3)  # as code that computes for long
            await asyncio.Event().wait()  # until the block is cancelled
        assert job.is_lost
        await other
    assert (generations, await work.cursor("a")) == ([2], end)


async def test_the_block_of_a_job_whose_subscription_is_deleted_is_cancelled(work: Pool) -> None:
    await work.append("a", 1)
    ends: list[str] = []
    async with next_job(work) as job:
        await work.session.delete(work.control)
        with pytest.raises(Fenced, match="no subscription"):
            await job.ack()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
    assert (ends, job.is_lost) == (["cancelled"], True)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_two_workers_share_the_jobs_and_each_message_is_handled_once(work: Pool) -> None:
    seen: Counter[int] = Counter()

    async def handle(job: Job) -> None:
        seen.update(await messages_of(job))

    workers = [work.worker(name=name) for name in ("one", "two")]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(handle))
        for number in range(40):
            await work.append("a", number)
            await until(lambda number=number: seen[number] == 1)  # type: ignore[misc] # a bool
        for worker in workers:
            worker.stop()
    assert seen == Counter(range(40))


async def test_several_subscriptions_are_worked_on_at_once_up_to_the_concurrency(
    work: Pool,
) -> None:
    names = [f"{work.name}-{number}" for number in range(4)]
    for name in names:
        other = Pool(work.streams, work.session, name, folder=work.name)
        await other.put(type="pull-wake", wake_stream=work.wake_stream)
    under_way: set[str] = set()
    most: list[int] = []
    may_end = asyncio.Event()

    async def handle(job: Job) -> None:
        under_way.add(job.subscription_id)
        most.append(len(under_way))
        await may_end.wait()
        await messages_of(job)
        under_way.discard(job.subscription_id)

    await work.append("a", 1)
    worker = Worker(work.streams, *names, concurrency=3, session=work.session)
    running = asyncio.create_task(worker.run(handle))
    await until(lambda: len(under_way) == 3)
    may_end.set()
    await until(lambda: len(most) == 4 and not under_way)
    worker.stop()
    await running
    assert max(most) == 3


async def test_a_graceful_stop_lets_the_job_end_and_claims_no_other(work: Pool) -> None:
    end = await work.append("a", 1)
    jobs = 0
    async with work.worker() as worker:
        async for job in worker:
            async with job:
                worker.stop()
                jobs += 1
                await messages_of(job)
                await work.append("a", 2)
        assert (jobs, await work.cursor("a")) == (1, end)
        asyncio.get_running_loop().call_soon(worker.stop)  # in the first await of the end
    async with worker:
        assert [job async for job in worker] == []
    async with worker:  # which opens it again
        async for job in worker:
            assert await messages_of(job) == [2]
            worker.stop()
    assert (await work.cursor("a") or "") > (end or "")


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_job_that_is_cancelled_or_takes_longer_than_the_grace_is_released(
    work: Pool, is_cancelled: bool
) -> None:
    await work.append("a", 1)
    begun = asyncio.Event()

    async def handle(job: Job) -> None:
        await messages_of(job)
        begun.set()
        await asyncio.Event().wait()

    worker = work.worker(stop_grace=0.2)
    running = asyncio.create_task(worker.run(handle))
    await begun.wait()
    if is_cancelled:
        running.cancel()
    else:
        worker.stop()
    await asyncio.wait([running])
    assert running.cancelled() == is_cancelled
    status, claimed = await work.claim()
    assert (status, claimed["generation"], await work.cursor("a")) == (200, 2, "-1")


async def test_what_does_not_pass_by_waiting_is_raised_from_the_worker(work: Pool) -> None:
    other = Pool(work.streams, work.session, f"{work.name}-hook")
    await other.put(type="webhook", webhook={"url": "http://127.0.0.1:9/hook"})
    with pytest.raises(ValueError, match="pull-wake"):
        await other.worker().run(messages_of)
    with pytest.raises(StreamNotFound, match="no subscription") as refused:
        await Worker(work.streams, "none", session=work.session).run(messages_of)
    assert refused.value.code == "SUBSCRIPTION_NOT_FOUND"
    with pytest.raises(ValueError, match="the id of a subscription"):
        Worker(work.streams)


async def test_a_worker_whose_server_is_not_there_warns_with_its_url(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = asyncio.create_task(Worker(NOWHERE, "s").run(messages_of))
    await until(lambda: bool(caplog.records))
    running.cancel()
    await asyncio.wait([running])
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.messages[0].startswith(f"{NOWHERE}/__ds/subscriptions/s: ")


async def test_a_failed_job_of_a_thread_comes_again_and_one_without_a_block_ends_with_its_turn(
    work: Pool,
) -> None:
    end = await work.append("a", 1, None)
    seen: list[Any] = []

    def use() -> None:
        for job in sync.Worker(work.streams, work.name):
            if job.generation == 1:
                with job:
                    raise RuntimeError
            elif job.generation == 3:
                return
            else:
                seen.extend(message for stream in job.pending for message in stream.messages())
                asyncio.run_coroutine_threadsafe(go_on(), loop).result(PATIENCE_S)

    async def go_on() -> None:
        assert await work.cursor("a") == "-1"
        await work.append("a", 3)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(use)
    assert seen == [1, None]
    assert (await work.cursor("a") or "") >= (end or "")


async def test_leases_of_jobs_in_threads_are_extended_and_a_lost_job_gets_no_more_messages(
    work: Pool,
) -> None:
    await work.append("a", 1, 2)
    begun: list[sync.Job] = []
    threads: set[int] = set()

    def run() -> None:
        threads.add(threading.get_ident())
        worker.run(handle)

    def handle(job: sync.Job) -> None:
        messages = job.pending[0].messages()
        assert next(messages) == 1
        begun.append(job)
        worker.stop()
        wait_until(lambda: job.is_lost)
        with pytest.raises(Fenced, match="lost"):
            next(messages)
        with pytest.raises(Fenced):
            job.ack()
        threads.add(threading.get_ident())

    worker = sync.Worker(work.streams, work.name)
    running = asyncio.create_task(asyncio.to_thread(run))
    await until(lambda: bool(begun))
    await asyncio.sleep(1.5)  # of leases of a second
    assert not begun[0].is_lost
    await work.session.delete(work.control)
    await running
    await until(lambda: len(threads) == 2)
