"""Workers and gateways are killed, and answers refused: all is handled and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from headgate import Unavailable
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.workers.pools import JSON, Pool, messages_of, pool
from tests.support.examples import IS_WHOLE
from tests.support.ports import free_port
from tests.support.processes import ROOT, Headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from headgate import Job

KILLS = 60 if IS_WHOLE else 6
STREAMS = 4
SEED = 37
PROGRAM = """
import asyncio, sys
from headgate import Worker

async def note(job):
    for stream in job.pending:
        async for message in stream.messages():
            with open(sys.argv[3], "a") as notes:
                print(message, file=notes)

asyncio.run(Worker(sys.argv[1], sys.argv[2]).run(note))
"""
REFUSED = 2  # of each kind


async def worker_process(work: Pool, notes: Path) -> Process:
    """Start a worker in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, work.streams, work.name, str(notes), cwd=ROOT
    )


def noted(path: Path) -> list[str]:
    """Return the messages that workers have noted."""
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def own_server(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    server = Headgate(f"file:{tmp_path / 'streams'}")
    try:
        yield server.start()
    finally:
        server.close()


async def write(work: Pool, name: str, written: dict[str, str | None]) -> None:
    """Append messages until this is cancelled; what may be stored already comes twice."""
    for count in range(10_000):
        message, end = f"{name}/{count}", None
        while end is None:
            with contextlib.suppress(Unavailable):
                end = await work.append(name, message)
            await asyncio.sleep(0.02)
        written[message] = end


@pytest.mark.timeout(600)
async def test_each_message_is_handled_and_acknowledged_though_everything_is_killed(
    own_server: Headgate, tmp_path: Path
) -> None:
    notes, chance = tmp_path / "notes", random.Random(SEED)
    written: dict[str, str | None] = {}  # each message, and the offset after it
    async with pool(own_server.streams, lease_ttl_ms=1000) as work:
        workers = [await worker_process(work, notes) for _ in range(2)]
        names = [f"s{number}" for number in range(STREAMS)]
        writers = [asyncio.create_task(write(work, name, written)) for name in names]
        try:
            for kill in range(KILLS):
                seen = len(noted(notes))
                await until(
                    lambda seen=seen: len(noted(notes)) > seen,  # type: ignore[misc] # a bool
                    "work",
                    within_s=SERVER_PATIENCE_S,
                )
                await asyncio.sleep(chance.random() * 0.05)  # anywhere in the work
                if kill % 2:
                    own_server.kill()
                    await asyncio.to_thread(own_server.start)
                else:
                    workers.pop(0).kill()
                    workers.append(await worker_process(work, notes))
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

            async def is_done() -> bool:
                tails = {message.partition("/")[0]: end for message, end in written.items()}
                cursors = {name: await work.cursor(name) or "" for name in names}
                return all(cursors[name] >= (tails[name] or "") for name in names)

            await until(is_done, within_s=SERVER_PATIENCE_S)
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()
    assert len(written) >= KILLS
    assert written.keys() <= set(noted(notes))


async def test_a_job_goes_on_although_the_gateway_is_killed_and_started_in_the_middle(
    own_server: Headgate,
) -> None:
    async with pool(own_server.streams, lease_ttl_ms=10_000) as work:
        end = await work.append("a", 1)
        generations: list[int] = []

        async def handle(job: Job) -> None:
            generations.append(job.generation)
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            await messages_of(job)
            worker.stop()

        worker = work.worker()
        await worker.run(handle)
        assert await work.cursor("a") == end
    assert generations == [1]


async def test_a_worker_goes_on_when_its_wake_stream_is_deleted_and_created_again(
    work: Pool, caplog: pytest.LogCaptureFixture
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
        await until(lambda: f"/{work.wake_stream}: " in caplog.text)
        await work.stream(work.wake_stream).create(content_type=JSON)
        await until(lambda: seen == [1, 2], within_s=SERVER_PATIENCE_S)
        worker.stop()
        await running


class Refusing:
    """The refusals of the first acks, or extensions, on their way to a gateway."""

    def __init__(self, status: int, retry_after: str, *, is_done: bool) -> None:
        self.refusals: list[str] = []
        self._is_done = is_done
        self._about: Any = {"status": status, "headers": {"Retry-After": retry_after}}

    async def decide(self, request: web.Request) -> Fate:
        if not request.path.endswith(("/ack", "/callback")) or len(self.refusals) == REFUSED:
            return Fate.PASSED
        if json.loads(await request.read()).get("done") is not self._is_done:
            return Fate.PASSED
        self.refusals.append(request.path)
        return Fate.REFUSED

    def refusal(self) -> web.Response:
        return web.Response(**self._about)


@contextlib.asynccontextmanager
async def behind(
    decide: Callable[[web.Request], Awaitable[Fate]], refusal: Callable[[], web.Response]
) -> AsyncIterator[tuple[Headgate, Pool]]:
    """A gateway behind a proxy, and a pool on that way that is not subscribed yet."""
    gateway = Headgate(port=free_port())
    proxy = RequestProxy(gateway.port, decide, refusal)
    gateway.environment |= {"HEADGATE_HTTP__PUBLIC_URL": proxy.url}
    async with proxy, aiohttp.ClientSession() as session:
        try:
            await asyncio.to_thread(gateway.start)
            yield gateway, Pool(f"{proxy.url}/v1/stream", session, "orders")
        finally:
            gateway.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("status", "is_done"), [(502, True), (503, True), (504, True), (503, False)]
)
async def test_an_ack_or_extension_that_is_refused_for_now_is_sent_again(
    status: int, is_done: bool
) -> None:
    # Longer than the lease, as Headgate asks for one to three seconds.
    refusing = Refusing(status, "3", is_done=is_done)
    async with behind(refusing.decide, refusing.refusal) as (_, work):
        await work.subscribe(lease_ttl_ms=1000)
        end = await work.append("a", 1)
        generations: list[int] = []

        async def handle(job: Job) -> None:
            generations.append(job.generation)
            if not is_done:
                await until(lambda: len(refusing.refusals) == REFUSED)
                await asyncio.sleep(1.2)  # longer than the lease
            await messages_of(job)
            worker.stop()

        worker = work.worker()
        await worker.run(handle)
        assert await work.cursor("a") == end
        assert (generations, len(refusing.refusals)) == ([1], REFUSED)
