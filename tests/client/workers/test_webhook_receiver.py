"""A receiver of the library verifies webhooks, and works on their wakes as on claimed jobs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from headgate import NotAuthorized, Unavailable, WebhookReceiver

from tests.client.workers.pools import Pool, messages_of
from tests.subscriptions.receivers import receiver
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from headgate import Job

    from tests.subscriptions.receivers import Receiver


class Hook:
    """A webhook of a subscription, which works on each wake in a task."""

    def __init__(self, subscribed: Pool, at: Receiver, library: WebhookReceiver) -> None:
        self.subscribed = subscribed
        self.at = at
        self.library = library
        self.handle: Callable[[Job], Awaitable[object]] = messages_of
        self.jobs: list[Job | None] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def respond(self, call: web.Request) -> web.StreamResponse:
        """Answer as the page says."""
        try:
            job = await self.library.job(await call.read(), call.headers)
        except NotAuthorized:
            return web.Response(status=401)
        self.jobs.append(job)
        if job is not None:
            self.tasks.append(asyncio.create_task(self._run(job)))
        return web.Response()

    async def _run(self, job: Job) -> None:
        async with job:
            await self.handle(job)


@contextlib.asynccontextmanager
async def hook(work: Pool, lease_ms: int = 1000) -> AsyncIterator[Hook]:
    """A webhook that is subscribed to the streams of a pool."""
    subscribed = Pool(work.streams, work.session, f"{work.name}-hook", folder=work.name)
    library = WebhookReceiver(
        work.streams, subscribed.name, lease_ttl=lease_ms / 1000, session=work.session
    )
    async with receiver() as at, library:
        made = Hook(subscribed, at, library)
        at.respond = made.respond
        await subscribed.put(type="webhook", webhook={"url": at.url}, lease_ttl_ms=lease_ms)
        try:
            yield made
        finally:
            await work.session.delete(subscribed.control)
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_a_webhook_becomes_a_job_that_acknowledges_what_it_reads(work: Pool) -> None:
    seen: list[Any] = []
    async with hook(work) as made:

        async def handle(job: Job) -> None:
            seen.extend(await messages_of(job))

        made.handle = handle
        end = (await work.append("a", 1, 2)).next_offset
        await made.subscribed.acknowledged("a", end)
        assert seen == [1, 2]
        assert [it.subscription_id for it in made.jobs if it is not None] == [made.subscribed.name]


async def test_the_lease_of_a_webhook_is_extended_while_its_job_runs(work: Pool) -> None:
    async with hook(work) as made:

        async def handle(job: Job) -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await until(lambda: loop.time() - began > 2.5)  # of leases of a second
            await messages_of(job)

        made.handle = handle
        end = (await work.append("a", 1)).next_offset
        await made.subscribed.acknowledged("a", end)
        assert len(made.jobs) == 1


async def test_a_failed_job_of_a_webhook_comes_again(work: Pool) -> None:
    async with hook(work) as made:
        failures = 0

        async def handle(job: Job) -> None:
            nonlocal failures
            if not failures:
                failures += 1
                raise RuntimeError
            await messages_of(job)

        made.handle = handle
        end = (await work.append("a", 1)).next_offset
        await made.subscribed.acknowledged("a", end)
        assert [it.generation for it in made.jobs if it is not None] == [1, 2]


async def test_a_wake_that_is_sent_again_while_its_job_runs_becomes_no_second_job(
    work: Pool,
) -> None:
    async with hook(work, lease_ms=10_000) as made:
        may_end = asyncio.Event()

        async def handle(job: Job) -> None:
            await may_end.wait()
            await messages_of(job)

        made.handle = handle
        end = (await work.append("a", 1)).next_offset
        await until(lambda: len(made.jobs) == 1)
        body, signature = made.at.received[0]
        assert await made.library.job(body, {"webhook-signature": signature}) is None
        may_end.set()
        await made.subscribed.acknowledged("a", end)


async def test_a_wake_of_another_subscription_is_rejected(work: Pool) -> None:
    async with (
        hook(work) as made,
        WebhookReceiver(work.streams, "another", session=work.session) as other,
    ):
        await work.append("a", 1)
        await until(lambda: bool(made.at.received))
        body, signature = made.at.received[0]
        await other.verify(body, {"Webhook-Signature": signature})
        with pytest.raises(NotAuthorized, match="another subscription"):
            await other.job(body, {"Webhook-Signature": signature})


async def test_a_changed_body_is_rejected(work: Pool) -> None:
    async with hook(work) as made:
        await work.append("a", 1)
        await until(lambda: bool(made.at.received))
        body, signature = made.at.received[0]
        with pytest.raises(NotAuthorized, match="wrong"):
            await made.library.job(body + b" ", {"Webhook-Signature": signature})


async def test_an_unknown_key_is_looked_for_at_the_server_once_in_a_while(work: Pool) -> None:
    async with hook(work) as made:
        await work.append("a", 1)
        await until(lambda: bool(made.at.received))
        body, signature = made.at.received[0]
        forged = signature.replace("kid=ds_", "kid=ds_another")
        for _ in range(3):
            with pytest.raises(NotAuthorized, match="key set"):
                await made.library.verify(body, {"Webhook-Signature": forged})
        await made.library.verify(body, {"Webhook-Signature": signature})


async def test_a_receiver_whose_server_is_away_raises_unavailable(work: Pool) -> None:
    headers = {"Webhook-Signature": f"t={_now()},kid=ds_a,ed25519={'A' * 86}"}
    async with WebhookReceiver("http://127.0.0.1:1/v1/stream", "s", session=work.session) as one:
        with pytest.raises(Unavailable):
            await one.job(b"{}", headers)


def _now() -> int:
    from headgate.workers.signatures import system_time

    return int(system_time())


async def test_a_receiver_outside_of_its_block_raises_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await WebhookReceiver("http://127.0.0.1:1", "s").verify(b"", {})


def test_a_receiver_with_a_lease_out_of_its_range_raises_value_error() -> None:
    with pytest.raises(ValueError, match="lease_ttl is a number, 1 or"):
        WebhookReceiver("http://127.0.0.1:1", "s", lease_ttl=0.5)


def test_a_receiver_without_a_subscription_raises_value_error() -> None:
    with pytest.raises(ValueError, match="the id of a subscription"):
        WebhookReceiver("http://127.0.0.1:1")
