"""Receivers of webhooks: those of the page and of docs/examples/webhook, and the jobs they make."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from headgate import Client

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.workers.pools import Pool, messages_of
from tests.client.workers.test_faults import REFUSED, refusing
from tests.subscriptions.receivers import receiver
from tests.support.ports import accepts, free_port
from tests.support.processes import ROOT, headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from headgate import Job

    from tests.support.processes import Headgate

NODE = ROOT / "docs/examples/webhook/receiver.mjs"
PAGE = (ROOT / "docs/client/worker.md").read_text().partition("## Webhooks\n")[2]
VERIFIED, AIOHTTP, FLASK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = "orders/anna: your order of tea has arrived"
BASE = "http://127.0.0.1:4437/v1/stream"
COMMANDS = {
    "aiohttp": [sys.executable, "receiver.py"],
    "flask": [sys.executable, "-m", "flask", "--app", "receiver_flask", "run", "--port", "9000"],
    "node": ["node", str(NODE)],
}


class Example:
    """A receiver, as it is printed but for its port and the URL of the streams, in a process."""

    def __init__(self, kind: str, streams: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.process: Process | None = None
        self._folder = folder
        self._command = [part.replace("9000", str(self.port)) for part in COMMANDS[kind]]
        self._environment = {"WEBHOOK_STREAMS": streams, "WEBHOOK_PORT": str(self.port)}
        programs = {"verified": VERIFIED, "receiver": AIOHTTP, "receiver_flask": FLASK}
        for name, program in programs.items():
            changed = program.replace(BASE, streams).replace("port=9000", f"port={self.port}")
            (folder / f"{name}.py").write_text(changed)

    async def start(self) -> None:
        """Start the receiver, and wait until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, **self._environment},
            stdout=asyncio.subprocess.PIPE,
            cwd=self._folder,
        )
        await until(lambda: accepts(self.port), "the receiver", within_s=SERVER_PATIENCE_S)

    async def order(self) -> str:
        """Return the next line about an order that the receiver prints."""
        while True:
            assert self.process is not None
            assert self.process.stdout is not None
            line = await asyncio.wait_for(self.process.stdout.readline(), SERVER_PATIENCE_S)
            assert line, "the receiver has ended"
            if line.startswith(b"orders/"):
                return line.decode().rstrip("\n")

    async def kill(self) -> None:
        """Kill the receiver."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture(params=COMMANDS)
async def example(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[str], Example]]:
    """A maker of the receiver, which ends with the test."""
    made: list[Example] = []

    def make(streams: str) -> Example:
        made.append(Example(request.param, streams, tmp_path))
        return made[0]

    yield make
    for one in made:
        await one.kill()


@pytest.fixture
def own_server(processes: None) -> Iterator[Headgate]:
    with headgate() as started:
        yield started


@contextlib.asynccontextmanager
async def orders(streams: str, hook: str) -> AsyncIterator[Pool]:
    """The subscription that the receivers are for."""
    async with aiohttp.ClientSession() as session:
        work = Pool(streams, session, "orders")
        await work.put(type="webhook", webhook={"url": hook})
        yield work


async def test_an_order_is_confirmed_though_the_receiver_was_down_and_other_requests_get_401(
    own_server: Headgate, example: Callable[[str], Example]
) -> None:
    made = example(own_server.streams)
    async with orders(own_server.streams, made.url) as work:
        end = await work.append("anna", {"item": "tea"})

        await until(lambda: work.has_failed(""))
        await made.start()
        assert await made.order() == PRINTED
        await work.acknowledged("anna", end)
        await work.append("anna", {"item": "rice"}, {"item": "salt"})
        assert [(await made.order()).split()[4] for _ in range(2)] == ["rice", "salt"]
        other = Pool(own_server.streams, work.session, "other")
        await other.put(type="webhook", webhook={"url": made.url})
        await other.append("one", {"item": "gold"})
        await until(lambda: other.has_failed("401"))
        for field, reason in [
            ("", "the field Webhook-Signature is not"),
            (f"t=1778324210,kid=ds_a,ed25519={'A' * 86}", "the signature is of another time"),
        ]:
            headers = {"Webhook-Signature": field}
            async with work.session.post(made.url, data=b"{}", headers=headers) as answer:
                assert (answer.status, reason in await answer.text()) == (401, True)
    assert PRINTED in (NODE.parent / "README.md").read_text()


async def test_a_wake_that_is_sent_again_while_it_is_worked_on_is_worked_on_once(
    own_server: Headgate, example: Callable[[str], Example]
) -> None:
    async def lose_first(_: web.Request) -> Fate:
        return Fate.PASSED if len(wakes.heard) > 0 else Fate.LOST_AFTER

    async def hold_back(request: web.Request) -> Fate:
        if request.path.endswith("orders/anna"):
            await until(lambda: len(wakes.heard) >= 2, within_s=SERVER_PATIENCE_S)
        return Fate.PASSED

    reads = RequestProxy(own_server.port, hold_back)
    made = example(f"{reads.url}/v1/stream")
    wakes = RequestProxy(made.port, lose_first)
    async with reads, wakes, orders(own_server.streams, f"{wakes.url}/hook") as work:
        await made.start()
        end = await work.append("anna", {"item": "tea"})
        assert await made.order() == PRINTED
        await work.acknowledged("anna", end)
        await work.append("anna", {"item": "rice"})
        assert (await made.order()).split()[4] == "rice"
    first, second = (json.loads(it.body)["wake_id"] for it in wakes.heard[:2])
    assert first == second


@pytest.mark.usefixtures("processes")
async def test_a_receiver_sends_an_ack_that_is_refused_for_now_again(
    example: Callable[[str], Example],
) -> None:
    async with refusing(503, "0", is_done=True) as (refusals, gateway, work):
        made = example(gateway.streams)
        await made.start()
        await work.put(type="webhook", webhook={"url": made.url})
        end = await work.append("anna", {"item": "tea"})
        assert await made.order() == PRINTED
        await work.acknowledged("anna", end)
        assert (await work.description())["generation"] == 1
        assert len(refusals) == REFUSED


def forged(body: bytes, field: str) -> list[tuple[bytes, str, str]]:
    """Return requests that the server has not signed, or not lately, each with the reason."""
    signature = field.rpartition("=")[2]
    moment = re.findall(r"t=(\d+)", field)[0]
    malformed, unsigned = "is not t=…,kid=…,ed25519=…", "no key of the server has signed"
    return [
        (body, field.replace(f"t={moment}", f"t={int(moment) - 301}"), "of another time"),
        (body, field.replace(f"t={moment}", f"t={int(moment) + 400}"), "of another time"),
        (body, field.replace(f"t={moment}", f"t={int(moment) - 1}"), unsigned),
        (body + b" ", field, unsigned),
        (body, field.replace("kid=ds_", "kid=ds_another"), unsigned),
        (body, field.replace(signature, signature[::-1][1:] + "A"), unsigned),
        (body, "", malformed),
        (body, f"{field},v=1", malformed),
        (body, f"{field},{field}", malformed),
        (body, field.replace("t=", "t=+"), malformed),
        (body, field.replace("1", "\u0661"), malformed),
        (body, field.replace(signature, signature[:-1]), malformed),
        (body, f"{field}\n", malformed),
    ]


async def test_the_printed_verification_refuses_what_the_server_has_not_just_signed(
    work: Pool,
) -> None:
    names: dict[str, Any] = {}
    exec(VERIFIED.replace(BASE, work.streams), names)
    async with receiver() as recorder:
        hook = Pool(work.streams, work.session, f"{work.name}-hook", folder=work.name)
        await hook.put(type="webhook", webhook={"url": recorder.url})
        await work.append("a", 1)
        wake = await recorder.wake()
    body, field = recorder.received[0]
    assert await asyncio.to_thread(names["verified"], body, field) == wake
    for sent, signature, reason in forged(body, field):
        with pytest.raises(ValueError, match=re.escape(reason)):
            await asyncio.to_thread(names["verified"], sent, signature)
    assert names["keys"].cache_info().misses <= 2  # whatever requests name


@contextlib.asynccontextmanager
async def hooked(
    work: Pool, client: Client, handle: Callable[[Job], Awaitable[object]]
) -> AsyncIterator[tuple[Pool, list[int]]]:
    """A webhook whose wakes become jobs of a client, and the generations of these."""
    subscribed = Pool(work.streams, work.session, f"{work.name}-hook", work.name)
    generations: list[int] = []

    async def run(wake: dict[str, Any]) -> None:
        async with client.job(wake, lease_ttl=1) as job:
            generations.append(job.generation)
            await handle(job)

    async def respond(request: web.Request) -> web.Response:
        group.create_task(run(json.loads(await request.read())))
        return web.Response()

    async with asyncio.TaskGroup() as group, receiver(respond=respond) as at:
        await subscribed.put(type="webhook", webhook={"url": at.url}, lease_ttl_ms=1000)
        yield subscribed, generations
        await work.session.delete(subscribed.control)


async def test_the_job_of_a_webhook_is_extended_and_comes_again_when_it_fails(work: Pool) -> None:
    seen: list[object] = []

    async def handle(job: Job) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: loop.time() - began > 1.5)  # of leases of a second
        if job.generation == 1:
            raise RuntimeError
        seen.extend(await messages_of(job))

    async with (
        Client(work.streams) as client,
        hooked(work, client, handle) as (subscribed, generations),
    ):
        end = await work.append("a", 1, 2)
        await subscribed.acknowledged("a", end)
        assert (generations, seen) == ([1, 2], [1, 2])


async def test_a_client_that_is_closed_gives_back_the_jobs_of_webhooks(work: Pool) -> None:
    ends: list[int] = []

    async def handle(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append(job.generation)
            raise

    client = Client(work.streams)
    async with hooked(work, client, handle) as (_, generations):
        await work.append("a", 1)
        await until(lambda: generations == [1])
        await client.aclose()
        assert ends == [1]
        await until(lambda: generations == [1, 2], within_s=SERVER_PATIENCE_S)
        await client.aclose()


async def test_what_is_not_a_wake_is_refused_by_a_sentence(work: Pool) -> None:
    async with Client(work.streams) as client:
        with pytest.raises(ValueError, match=r"not the body of a webhook: .* `wake_id`"):
            client.job({"subscription_id": "s"})
        with pytest.raises(ValueError, match="lease_ttl is a number, 1 or"):
            client.job({}, lease_ttl=0.5)
