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
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headgate import Job

KILLS = 60 if IS_WHOLE else 6
STREAMS = 4
SEED = 37
REFUSED = 2  # of each kind
# Longer than the leases of a second, as Headgate asks for one to three seconds.
AGAIN = {"Retry-After": "3"}


@contextlib.asynccontextmanager
async def worker_process(work: Pool, notes: Path) -> AsyncIterator[Process]:
    """A worker in a process of its own."""
    module = "tests.client.workers.worker_process"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, work.streams, work.name, str(notes), cwd=ROOT
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


class Campaign:
    """Writers, two workers, and who kills them."""

    def __init__(self, server: Headgate, work: Pool, notes: Path) -> None:
        self.server = server
        self.work = work
        self.notes = notes
        self.chance = random.Random(SEED)
        self.tails: dict[str, str | None] = {}
        self.written: set[str] = set()

    async def write(self, number: int) -> None:
        """Append messages until this is cancelled; what may be stored already comes twice."""
        name = f"s{number}"
        for count in range(10_000):
            message = f"{name}/{count}"
            self.tails[name] = await self._stored(name, message)
            self.written.add(message)
            await asyncio.sleep(0.02)

    async def _stored(self, name: str, message: str) -> str | None:
        """Append until it succeeds, and return the offset behind the message."""
        while True:
            with contextlib.suppress(Unavailable):
                return (await self.work.append(name, message)).next_offset
            await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Kill so often, and then wait until all is acknowledged."""
        async with contextlib.AsyncExitStack() as stack:
            workers: list[Process] = []
            for _ in range(2):
                started = worker_process(self.work, self.notes)
                workers.append(await stack.enter_async_context(started))
            writers = [asyncio.create_task(self.write(number)) for number in range(STREAMS)]
            for kill in range(KILLS):
                seen = len(noted(self.notes))
                await until(
                    lambda seen=seen: len(noted(self.notes)) > seen,  # type: ignore[misc] # a bool
                    "work",
                    within_s=SERVER_PATIENCE_S,
                )
                await asyncio.sleep(self.chance.random() * 0.05)  # anywhere in the work
                if kill % 2:
                    self.server.kill()
                    await asyncio.to_thread(self.server.start)
                else:
                    workers.pop(0).kill()
                    started = worker_process(self.work, self.notes)
                    workers.append(await stack.enter_async_context(started))
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            for name in self.tails:
                await until(lambda name=name: self.is_done(name), within_s=SERVER_PATIENCE_S)  # type: ignore[misc] # a coroutine

    async def is_done(self, name: str) -> bool:
        """Return whether a stream is acknowledged up to what was last stored."""
        return (await self.work.cursor(name) or "") >= (self.tails[name] or "")


@pytest.mark.timeout(600)
async def test_each_message_is_handled_and_acknowledged_though_everything_is_killed(
    own_server: Headgate, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    async with pool(own_server.streams, lease_ttl_ms=1000) as work:
        campaign = Campaign(own_server, work, notes)
        await campaign.run()
    assert len(campaign.written) >= KILLS
    assert campaign.written <= set(noted(notes))


async def test_a_job_goes_on_although_the_gateway_is_killed_and_started_in_the_middle(
    own_server: Headgate,
) -> None:
    async with pool(own_server.streams, lease_ttl_ms=10_000) as work:
        end = (await work.append("a", 1)).next_offset
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


class Refusals:
    """A way to a gateway on which the first acks, or the first extensions, are refused."""

    def __init__(self, status: int, *, is_done: bool) -> None:
        self.count = 0
        self._is_done = is_done
        self.gateway = Headgate(port=free_port())
        self.proxy = RequestProxy(
            self.gateway.port, self._decide, lambda: web.Response(status=status, headers=AGAIN)
        )
        self.gateway.environment |= {"HEADGATE_HTTP__PUBLIC_URL": self.proxy.url}

    async def _decide(self, request: web.Request) -> Fate:
        if not request.path.endswith(("/ack", "/callback")) or self.count == REFUSED:
            return Fate.PASSED
        # An extension of the example for Node.js does not say that it is not the last one.
        if json.loads(await request.read()).get("done", False) is not self._is_done:
            return Fate.PASSED
        self.count += 1
        return Fate.REFUSED


@contextlib.asynccontextmanager
async def refusing(status: int, *, is_done: bool) -> AsyncIterator[tuple[Refusals, Pool]]:
    """A gateway behind such a way, and a pool at the proxy that is not subscribed yet."""
    made = Refusals(status, is_done=is_done)
    async with made.proxy, aiohttp.ClientSession() as session:
        try:
            await asyncio.to_thread(made.gateway.start)
            yield made, Pool(f"{made.proxy.url}/v1/stream", session, "orders")
        finally:
            made.gateway.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("status", "is_done"), [(502, True), (503, True), (504, True), (503, False)]
)
async def test_an_ack_or_extension_that_is_refused_for_now_is_sent_again(
    status: int, is_done: bool
) -> None:
    async with refusing(status, is_done=is_done) as (way, work):
        await work.subscribe(lease_ttl_ms=1000)
        end = (await work.append("a", 1)).next_offset
        generations: list[int] = []

        async def handle(job: Job) -> None:
            generations.append(job.generation)
            if not is_done:
                await until(lambda: way.count == REFUSED)
                await asyncio.sleep(1.2)  # longer than the lease
            await messages_of(job)
            worker.stop()

        worker = work.worker()
        await worker.run(handle)
        assert await work.cursor("a") == end
        assert (generations, way.count) == ([1], REFUSED)
