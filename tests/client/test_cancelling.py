"""Tasks that are cancelled while their client is closed, and clients that several loops use."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import headgate
from tests.client.workers.pools import Pool, pool
from tests.support.threaded import Threaded, threaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Reached = Callable[[], object]
    Activity = Callable[[headgate.Client, Pool, Reached], Awaitable[object]]

MOST_TURNS = 8  # of the event loop between the two: all that waits has seen both by then
LOOKED_S = 0.1  # after which what is not there has been looked for, and is waited for


@pytest.fixture(scope="module")
def server() -> Iterator[Threaded]:
    with threaded() as started:
        yield started


@pytest.fixture
async def work(server: Threaded) -> AsyncIterator[Pool]:
    async with pool(server.streams) as made:
        await made.append("a", 1)
        yield made


async def follow(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async for _ in hg.stream(work.path("a")).follow():
        reached()


async def follow_in_block(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async with hg.stream(work.path("a")).follow_bytes() as reading:
        async for _ in reading:
            reached()


async def wait_for_run(hg: headgate.Client, _: Pool, reached: Reached) -> None:
    asyncio.get_running_loop().call_later(LOOKED_S, reached)
    await hg.runs.follow(str(uuid.uuid4()), wait=60)


async def read_run(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async def silent() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    async with headgate.Runs(hg.base_url, session=work.session) as runs:
        run_id = str(uuid.uuid4())
        await (await runs.start(run_id, silent())).body.aclose()
        answer = await hg.runs.follow(run_id)
        assert answer is not None
        try:
            async for _ in answer.body:
                reached()
        finally:
            await runs.aclose(wait=0)


async def wait_for_chat(hg: headgate.Client, _: Pool, reached: Reached) -> None:
    asyncio.get_running_loop().call_later(LOOKED_S, reached)
    await hg.chats.resume(uuid.uuid4().hex, wait=60)


async def write(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async with hg.writer(work.path("a"), max_buffer_bytes=1) as writer:
        while True:
            await writer.write(1)
            reached()


async def wait_as_worker(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async for _ in hg.worker(work.name):
        reached()


async def work_on_job(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async for job in hg.worker(work.name):
        async with job:
            reached()
            await asyncio.Event().wait()


async def read_in_job(hg: headgate.Client, work: Pool, reached: Reached) -> None:
    async def handle(job: headgate.Job) -> None:
        for stream in job.pending:
            async for _ in stream.messages():
                reached()
                await asyncio.Event().wait()

    await hg.worker(work.name).run(handle)


ACTIVITIES = [
    follow,
    follow_in_block,
    wait_for_run,
    read_run,
    wait_for_chat,
    write,
    wait_as_worker,
    work_on_job,
    read_in_job,
]


@contextlib.contextmanager
def no_errors_in_the_loop() -> Iterator[None]:
    """Fail for what asyncio logs, such as of a task whose error nobody has retrieved."""
    loop, found = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: found.append(context))
    try:
        yield
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert found == []


@pytest.mark.parametrize("turns", range(-MOST_TURNS, MOST_TURNS + 1))
@pytest.mark.parametrize("activity", ACTIVITIES)
async def test_a_cancelled_task_ends_cancelled_whenever_its_client_is_closed(
    activity: Activity, turns: int, work: Pool
) -> None:
    with no_errors_in_the_loop():
        hg, reached = headgate.Client(work.streams), asyncio.Event()
        task = asyncio.ensure_future(activity(hg, work, reached.set))
        await asyncio.wait(
            {task, asyncio.ensure_future(reached.wait())}, return_when="FIRST_COMPLETED"
        )
        assert not task.done()
        closing = None
        if turns < 0:
            closing = asyncio.create_task(hg.aclose())
        else:
            task.cancel()
        for _ in range(abs(turns)):
            await asyncio.sleep(0)
        is_cancelled = turns >= 0 or task.cancel()
        await (closing or hg.aclose())
        await asyncio.wait({task})
        # What has ended by the end of its client before is not cancelled any more.
        assert task.cancelled() or (not is_cancelled and task.exception() is not None)
        del task, closing


async def test_a_client_whose_closing_is_cancelled_has_closed_its_connections(work: Pool) -> None:
    hg = headgate.Client(work.streams)
    session = hg._connection.in_this_loop().session
    reading = hg.stream(work.path("a")).follow()
    await anext(reading)
    closing = asyncio.create_task(hg.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert session.closed


SEVERAL = """
import asyncio, sys
import headgate

hg = headgate.Client(sys.argv[1])

async def use(number):
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no warning
    stream = await hg.create("s", json=True)
    await stream.append(number)
    async for message in stream.follow():
        if message.value == number:
            return
        await hg.stream("s").head()

async def use_in_block(number):
    async with hg:
        await use(number)

for number in range(3):
    asyncio.run(use(number))
asyncio.run(use_in_block(3))
asyncio.run(use(4))
print("five")
"""


@pytest.mark.usefixtures("processes")
def test_a_client_that_several_event_loops_use_prints_no_warning(server: Threaded) -> None:
    command = [sys.executable, "-X", "dev", "-W", "always", "-c", SEVERAL, server.streams]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("five\n", "")
