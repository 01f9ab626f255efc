"""Leases of jobs: extended, raced for, lost and given back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from headgate import Fenced, StreamNotFound, Worker

from tests.client.workers.pools import Pool, messages_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate import Job


async def test_a_job_that_takes_longer_than_its_lease_is_extended(work: Pool) -> None:
    end = (await work.append("a", 1)).next_offset
    generations: list[int] = []

    async def handle(job: Job) -> None:
        generations.append(job.generation)
        await messages_of(job)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: loop.time() - began > 2.5)  # of leases of a second

    async with work.worker() as worker:
        running = asyncio.create_task(worker.run(handle))
        await work.acknowledged("a", end)
        worker.stop()
        await running
    assert generations == [1]


async def test_a_worker_that_blocks_its_event_loop_loses_the_lease_and_acknowledges_nothing(
    work: Pool,
) -> None:
    end = (await work.append("a", 1)).next_offset
    done: list[Job] = []
    async with work.worker(name="slow") as slow, work.worker(name="fast") as fast:
        async with await anext(aiter(slow)) as job:
            assert await messages_of(job) == [1]
            other = asyncio.create_task(fast.run(lambda it: _noted(it, done)))
            time.sleep(1.3)  # as code that computes for long
            await asyncio.Event().wait()  # until the block is cancelled
        assert job.is_lost
        await work.acknowledged("a", end)
        fast.stop()
        await other
    assert [it.generation for it in done] == [2]


async def _noted(job: Job, done: list[Job]) -> None:
    await messages_of(job)
    done.append(job)


async def test_the_block_of_a_job_whose_subscription_is_deleted_is_cancelled(work: Pool) -> None:
    await work.append("a", 1)
    ends: list[str] = []
    async with work.worker() as worker:
        async with await anext(aiter(worker)) as job:
            await work.session.delete(work.control)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
        assert (ends, job.is_lost) == (["cancelled"], True)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_ack_of_a_lost_job_raises_lease_lost(work: Pool) -> None:
    await work.append("a", 1)
    async with work.worker() as worker:
        job = await anext(aiter(worker))
        await work.session.delete(work.control)
        with pytest.raises(Fenced, match="no subscription"):
            await job.ack()
        assert job.is_lost


async def test_two_workers_share_the_jobs_and_each_message_is_handled_once(work: Pool) -> None:
    seen: Counter[int] = Counter()
    by_worker: Counter[str] = Counter()

    async def run(worker: Worker) -> None:
        async def handle(job: Job) -> None:
            seen.update(await messages_of(job))
            by_worker[worker.name] += 1

        await worker.run(handle)

    workers = [work.worker(name=name) for name in ("one", "two")]
    running = [asyncio.create_task(run(worker)) for worker in workers]
    for number in range(40):
        await work.append("a", number)
        await until(lambda number=number: seen[number] == 1)  # type: ignore[misc] # a bool
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    assert seen == Counter(range(40))
    assert sum(by_worker.values()) >= 40


async def test_the_second_of_two_workers_waits_until_the_first_is_done(work: Pool) -> None:
    await work.append("a", 1)
    async with work.worker() as one, work.worker() as two:
        async with await anext(aiter(one)) as job:
            waiting = asyncio.create_task(anext(aiter(two)))
            assert await messages_of(job) == [1]
            await work.append("a", 2)
            assert not waiting.done()
        async with await waiting as second:
            assert await messages_of(second) == [2]


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
    end = (await work.append("a", 1)).next_offset
    jobs = 0
    async with work.worker() as worker:
        async for job in worker:
            async with job:
                worker.stop()
                jobs += 1
                await messages_of(job)
                await work.append("a", 2)
        assert await work.cursor("a") == end
    assert jobs == 1
    async with worker:  # which opens it again
        async for job in worker:
            assert await messages_of(job) == [2]
            worker.stop()


async def test_a_stop_while_the_block_ends_ends_the_next_one(work: Pool) -> None:
    await work.append("a", 1)
    async with work.worker() as worker:
        asyncio.get_running_loop().call_soon(worker.stop)  # in the first await of the end
    async with worker:
        assert await worker._next_job() is None
    async with worker:
        assert await worker._next_job() is not None


async def test_a_job_that_takes_longer_than_the_grace_is_cancelled_and_released(
    work: Pool,
) -> None:
    await work.append("a", 1)
    async with work.worker(stop_grace=0.2) as worker:
        async for job in worker:
            async with job:
                worker.stop()
                await messages_of(job)
                await asyncio.Event().wait()
    async with work.session.post(f"{work.control}/claim", json={"worker": "next"}) as answer:
        assert (answer.status, (await answer.json())["generation"]) == (200, 2)
    assert await work.cursor("a") == "-1"


async def test_a_worker_that_is_cancelled_releases_its_jobs(work: Pool) -> None:
    await work.append("a", 1)
    begun = asyncio.Event()

    async def handle(_: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(work.worker().run(handle))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with work.session.post(f"{work.control}/claim", json={"worker": "next"}) as answer:
        assert answer.status == 200


async def test_a_worker_of_a_subscription_that_does_not_exist_raises_stream_not_found(
    work: Pool,
) -> None:
    with pytest.raises(StreamNotFound, match="no subscription") as refused:
        await Worker(work.streams, "none", session=work.session).run(messages_of)
    assert refused.value.code == "SUBSCRIPTION_NOT_FOUND"


async def test_a_worker_of_a_webhook_subscription_raises_value_error(work: Pool) -> None:
    other = Pool(work.streams, work.session, f"{work.name}-hook")
    await other.put(type="webhook", webhook={"url": "http://127.0.0.1:9/hook"})
    with pytest.raises(ValueError, match="pull-wake"):
        await other.worker().run(messages_of)


def test_a_worker_without_a_subscription_raises_value_error() -> None:
    with pytest.raises(ValueError, match="the id of a subscription"):
        Worker("http://127.0.0.1:1")
