"""Workers and gateways that are killed in the middle of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.workers.pools import messages_of, pool
from tests.support.processes import ROOT, Headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headgate import Job

    from tests.client.workers.pools import Pool


@contextlib.asynccontextmanager
async def worker_process(work: Pool, notes: Path, last: int = 0) -> AsyncIterator[Process]:
    """A worker in a process of its own."""
    module = "tests.client.workers.worker_process"
    arguments = [work.streams, work.name, str(notes), str(last)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=ROOT
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def noted(path: Path) -> list[Any]:
    """Return the messages that workers have noted."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)[1] for line in lines]


@pytest.fixture
def own_server(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    server = Headgate(f"file:{tmp_path / 'streams'}")
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.usefixtures("processes")
async def test_the_work_of_a_worker_that_is_killed_in_a_job_goes_to_another_one(
    work: Pool, tmp_path: Path
) -> None:
    end = (await work.append("a", 1, 2, 3)).next_offset
    notes = tmp_path / "notes"
    async with worker_process(work, notes, last=2) as first:
        await until(lambda: noted(notes) == [1, 2], within_s=SERVER_PATIENCE_S)
        assert await work.cursor("a") == "-1"
        async with worker_process(work, notes):
            first.kill()
            await work.acknowledged("a", end)
    assert noted(notes) == [1, 2, 1, 2, 3]


@pytest.mark.usefixtures("processes")
async def test_a_worker_ends_by_sigterm_once_its_job_is_done(work: Pool, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    end = (await work.append("a", 1)).next_offset
    async with worker_process(work, notes) as process:
        await work.acknowledged("a", end)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    await work.append("a", 2)
    assert noted(notes) == [1]


@pytest.mark.usefixtures("processes")
async def test_a_job_goes_on_although_the_gateway_is_killed_and_started_in_the_middle(
    own_server: Headgate,
) -> None:
    async with pool(own_server.streams, lease_ttl_ms=10_000) as work:
        end = (await work.append("a", 1)).next_offset
        generations: list[int] = []
        is_back = asyncio.Event()

        async def handle(job: Job) -> None:
            generations.append(job.generation)
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            is_back.set()
            await messages_of(job)

        async with work.worker() as worker:
            running = asyncio.create_task(worker.run(handle))
            await is_back.wait()
            await work.acknowledged("a", end)
            worker.stop()
            await running
    assert generations == [1]


@pytest.mark.usefixtures("processes")
async def test_a_worker_that_waits_survives_kills_of_the_gateway_and_misses_no_event(
    own_server: Headgate,
) -> None:
    async with pool(own_server.streams) as work:
        seen: list[int] = []

        async def handle(job: Job) -> None:
            seen.extend(await messages_of(job))

        async with work.worker() as worker:
            running = asyncio.create_task(worker.run(handle))
            for number in range(3):
                await work.append("a", number)
                await until(lambda number=number: number in seen, within_s=SERVER_PATIENCE_S)  # type: ignore[misc] # a bool
                own_server.kill()
                await asyncio.to_thread(own_server.start)
            worker.stop()
            await running
    assert sorted(set(seen)) == [0, 1, 2]


async def test_a_worker_goes_on_when_its_wake_stream_is_deleted_and_created_again(
    work: Pool,
) -> None:
    seen: list[int] = []

    async def handle(job: Job) -> None:
        seen.extend(await messages_of(job))

    async with work.worker() as worker:
        running = asyncio.create_task(worker.run(handle))
        await work.append("a", 1)
        await until(lambda: seen == [1])
        await work.stream(work.wake_stream).delete()
        await work.append("a", 2)
        await work.stream(work.wake_stream).create(content_type="application/json")
        await until(lambda: seen == [1, 2], within_s=SERVER_PATIENCE_S)
        worker.stop()
        await running
