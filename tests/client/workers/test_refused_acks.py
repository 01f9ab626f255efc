"""Acknowledgements that a server answers with 502, 503 or 504 are sent again: the work is done."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.workers.pools import Pool, messages_of
from tests.client.workers.test_examples import PRINTED, RECEIVERS, Example
from tests.client.workers.test_webhook_receiver import hook
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate import Job

pytestmark = pytest.mark.usefixtures("processes")

REFUSED = 2  # of each kind
# Longer than the leases of a second, as Headgate asks for one to three seconds.
AGAIN = {"Retry-After": "3"}


class Refusals:
    """A way to a gateway on which the first acks, or the first extensions, are refused."""

    def __init__(self, status: int, *, is_done: bool) -> None:
        self.count = 0
        self._is_done = is_done
        self.gateway = Headgate(port=free_port())
        self.proxy = RequestProxy(
            self.gateway.port, self._decide, lambda: web.Response(status=status, headers=AGAIN)
        )
        own = {
            "HEADGATE_HTTP__PUBLIC_URL": self.proxy.url,
        }
        self.gateway.environment |= own

    async def _decide(self, request: web.Request) -> Fate:
        if not request.path.endswith(("/ack", "/callback")) or self.count == REFUSED:
            return Fate.PASSED
        if json.loads(await request.read()).get("done") is not self._is_done:
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


async def worked_off(work: Pool, *, lasts_s: float = 0.0) -> list[int]:
    """Return the generations of the jobs of a worker until a message is acknowledged."""
    await work.subscribe(lease_ttl_ms=1000)
    end = (await work.append("a", 1)).next_offset
    generations: list[int] = []

    async def handle(job: Job) -> None:
        generations.append(job.generation)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: loop.time() - began >= lasts_s)
        await messages_of(job)

    async with work.worker() as worker:
        running = asyncio.create_task(worker.run(handle))
        await work.acknowledged("a", end)
        worker.stop()
        await running
    return generations


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_worker_whose_ack_is_refused_for_now_sends_it_again(status: int) -> None:
    async with refusing(status, is_done=True) as (way, work):
        assert await worked_off(work) == [1]
        assert way.count == REFUSED


async def test_a_worker_whose_extension_is_refused_for_now_keeps_its_job() -> None:
    async with refusing(503, is_done=False) as (way, work):
        assert await worked_off(work, lasts_s=2.5) == [1]
        assert way.count == REFUSED


async def test_a_receiver_of_the_library_sends_an_ack_that_is_refused_for_now_again() -> None:
    async with refusing(503, is_done=True) as (way, work), hook(work) as made:
        end = (await work.append("a", 1)).next_offset
        await made.subscribed.acknowledged("a", end)
        assert [it.generation for it in made.jobs if it is not None] == [1]
        assert way.count == REFUSED


@pytest.mark.parametrize("command", RECEIVERS)
async def test_a_receiver_of_the_example_sends_an_ack_that_is_refused_for_now_again(
    command: list[str],
) -> None:
    async with refusing(503, is_done=True) as (way, work):
        receiver = Example(command, way.gateway)
        try:
            await receiver.start()
            await work.put(type="webhook", webhook={"url": receiver.url})
            end = (await work.append("anna", {"item": "tea"})).next_offset
            assert await receiver.line() == PRINTED
            await work.acknowledged("anna", end)
        finally:
            await receiver.kill()
        assert (await work.description())["generation"] == 1
        assert way.count == REFUSED
