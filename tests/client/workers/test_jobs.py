"""Jobs of a worker: what they read, acknowledge and leave."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from headgate import Conflict, Fenced, Unavailable, Worker

from tests.client.workers.pools import Pool, messages_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate import Job


async def first_job(worker: Worker) -> Job:
    """Return the next job of a worker whose block was entered."""
    return await anext(aiter(worker))


async def test_pending_work_is_claimed_at_the_start_and_acknowledged_at_the_end_of_the_block(
    work: Pool,
) -> None:
    end = (await work.append("a", {"n": 1}, {"n": 2})).next_offset
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            (stream,) = job.pending
            assert (stream.name, stream.acked_offset) == (work.path("a"), "-1")
            assert (stream.tail_offset, stream.is_closed) == (end, False)
            assert await messages_of(job) == [{"n": 1}, {"n": 2}]
        assert await work.cursor("a") == end


async def test_a_job_without_a_block_of_its_own_ends_with_the_turn_of_the_loop(
    work: Pool,
) -> None:
    end = (await work.append("a", 1)).next_offset
    async with work.worker() as worker:
        jobs = aiter(worker)
        assert await messages_of(await anext(jobs)) == [1]
        second = asyncio.create_task(anext(jobs))
        await work.acknowledged("a", end)
        await work.append("a", 2)
        assert await messages_of(await second) == [2]


async def test_only_what_was_read_is_acknowledged(work: Pool) -> None:
    end = (await work.append("a", 1)).next_offset
    await work.append("b", 1)
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            stream = next(it for it in job.pending if it.name == work.path("a"))
            assert [message async for message in stream.messages()] == [1]
        assert (await work.cursor("a"), await work.cursor("b")) == (end, "-1")
        async with await first_job(worker) as job:
            assert [it.name for it in job.pending] == [work.path("b")]


async def test_an_ack_counts_although_the_job_fails_later(
    work: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    first = (await work.append("a", 1)).next_offset
    await work.append("b", 1)
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            stream = next(it for it in job.pending if it.name == work.path("a"))
            await stream.ack()
            raise RuntimeError("as a handler may")
        assert (await work.cursor("a"), await work.cursor("b")) == (first, "-1")
    failures = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert [it.exc_info[0] for it in failures if it.exc_info] == [RuntimeError]


async def test_a_job_that_ends_by_an_error_of_a_stream_is_logged_in_one_line(
    work: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await work.append("a", 1)
    async with work.worker() as worker, await first_job(worker):
        raise Unavailable("the server is away")
    (failure,) = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert failure.getMessage().endswith(" failed and is released: the server is away")
    assert not failure.exc_info


async def test_an_ack_of_a_job_is_as_far_as_each_stream_was_read(work: Pool) -> None:
    end = (await work.append("a", 1)).next_offset
    await work.append("b", 1)
    async with work.worker() as worker, await first_job(worker) as job:
        stream = next(it for it in job.pending if it.name == work.path("a"))
        async for _ in stream.messages():
            pass
        await job.ack()
        assert (await work.cursor("a"), await work.cursor("b")) == (end, "-1")


async def test_an_offset_that_is_none_of_the_stream_is_refused_and_the_job_goes_on(
    work: Pool,
) -> None:
    end = (await work.append("a", 1)).next_offset
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            (stream,) = job.pending
            with pytest.raises(Conflict, match="offset") as refused:
                await stream.ack("9999999999999999_9999999999999999")
            assert refused.value.code == "INVALID_OFFSET"
            assert await messages_of(job) == [1]
        assert await work.cursor("a") == end


async def test_messages_of_text_are_refused_and_its_data_is_read_in_batches(work: Pool) -> None:
    end = (await work.append("a", "hello", content_type="text/plain")).next_offset
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            (stream,) = job.pending
            with pytest.raises(TypeError, match="use read"):
                await messages_of(job)
            assert [batch.bodies async for batch in stream.read()] == [(b"hello",)]
        assert await work.cursor("a") == end


async def test_a_close_without_data_is_a_job_that_is_over_once_it_was_read(work: Pool) -> None:
    end = (await work.append("a", 1)).next_offset
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            await messages_of(job)
        await work.acknowledged("a", end)
        await work.stream(work.path("a")).close()
        async with await first_job(worker) as job:
            (stream,) = job.pending
            assert (stream.is_closed, await messages_of(job)) == (True, [])
        async with work.session.post(f"{work.control}/claim", json={"worker": "w"}) as answer:
            assert (await answer.json())["error"]["code"] == "NO_PENDING_WORK"


async def test_a_stream_that_is_deleted_during_the_job_keeps_no_other_from_being_acknowledged(
    work: Pool,
) -> None:
    await work.append("a", 1)
    end = (await work.append("b", 1)).next_offset
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            assert await messages_of(job) == [1, 1]
            await work.stream(work.path("a")).delete()
        assert await work.cursor("b") == end


async def test_a_stream_that_is_deleted_before_it_is_read_has_no_messages(work: Pool) -> None:
    await work.append("a", 1)
    async with work.worker() as worker, await first_job(worker) as job:
        await work.stream(work.path("a")).delete()
        assert await messages_of(job) == []


async def test_a_job_that_was_released_takes_no_acks(work: Pool) -> None:
    await work.append("a", 1)
    async with work.worker() as worker:
        async with await first_job(worker) as job:
            await job.release()
            with pytest.raises(Fenced, match="has ended"):
                await job.ack()
        assert await work.cursor("a") == "-1"


async def test_the_work_of_a_failed_job_comes_again_and_behind_a_pause(work: Pool) -> None:
    await work.append("a", 1)
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def fail(_: Job) -> None:
        times.append(loop.time())
        raise RuntimeError

    async with work.worker() as worker:
        running = asyncio.create_task(worker.run(fail))
        await until(lambda: len(times) == 3)
        worker.stop()
        await running
    assert times[1] - times[0] >= 0.5
    assert times[2] - times[1] >= 1.0
    assert await work.cursor("a") == "-1"


async def test_a_worker_that_waits_gets_a_job_with_each_event(work: Pool) -> None:
    seen: list[Any] = []
    await work.append("a", 0)
    async for job in work.worker():
        async with job:
            seen += await messages_of(job)
            if len(seen) < 3:
                await work.append("a", len(seen))
        if len(seen) == 3:
            break
    assert seen == [0, 1, 2]


async def test_a_worker_whose_server_is_not_there_warns_with_its_url(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Worker("http://127.0.0.1:1/v1/stream", "s") as worker:
        job = asyncio.create_task(worker._next_job())
        await until(lambda: bool(caplog.records))
        job.cancel()
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.messages[0].startswith("http://127.0.0.1:1/v1/stream/__ds/subscriptions/s: ")


async def test_a_worker_whose_wake_stream_is_missing_warns_of_it(
    work: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await work.stream(work.wake_stream).delete()
    async with work.worker() as worker:
        job = asyncio.create_task(worker._next_job())
        await until(lambda: bool(caplog.records))
        job.cancel()
    assert caplog.records[0].levelno == logging.WARNING
    assert f"/{work.wake_stream}: " in caplog.messages[0]
