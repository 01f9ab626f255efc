"""Receivers of webhooks: those of the page and of docs/examples/webhook, and the jobs they make."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from headgate import Client
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.sync.applications import of_python, web_server
from tests.client.workers.pools import Pool, messages_of
from tests.client.workers.test_faults import REFUSED, Refusing, behind
from tests.subscriptions.receivers import receiver
from tests.support.ports import free_port
from tests.support.processes import ROOT, headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from headgate import Job

NODE = ROOT / "docs/examples/webhook/receiver.mjs"
PAGE = (ROOT / "docs/client/worker.md").read_text().partition("## Webhooks\n")[2]
VERIFIED, AIOHTTP, FLASK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = {"verified.py": VERIFIED, "receiver.py": AIOHTTP, "receiver_flask.py": FLASK}
PRINTED = "orders/anna: your order of tea has arrived"
BASE = "http://127.0.0.1:4437/v1/stream"
COMMANDS = {
    "aiohttp": (sys.executable, "receiver.py"),
    "flask": (*of_python("flask"), "--app", "receiver_flask", "run", "--port", "PORT"),
    "node": ("node", str(NODE)),
}
with_each_receiver = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def receiving(
    folder: Path, command: tuple[str, ...], streams: str, port: int
) -> AbstractContextManager[object]:
    """A receiver, as it is printed but for its port and the URL of the streams, in a process."""
    for name, program in PROGRAMS.items():
        (folder / name).write_text(
            program.replace(BASE, streams).replace("port=9000", f"port={port}")
        )
    environment = {"WEBHOOK_STREAMS": streams, "WEBHOOK_PORT": str(port)}
    return web_server(folder, *command, port=port, **environment)


async def confirmed(folder: Path, *items: str) -> None:
    """Wait until the receiver has printed the confirmations of these orders alone."""

    def printed() -> bool:
        lines = (folder / "log").read_text().splitlines()
        return [it for it in lines if it.startswith("orders/")] == expected

    expected = [PRINTED.replace("tea", item) for item in items]
    await until(printed, within_s=SERVER_PATIENCE_S)


@pytest.mark.usefixtures("processes")
@with_each_receiver
async def test_an_order_is_confirmed_though_the_receiver_was_down_and_other_requests_get_401(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    port = free_port()
    hook = f"http://127.0.0.1:{port}/hook"
    with headgate() as server:
        async with aiohttp.ClientSession() as session:
            work = Pool(server.streams, session, "orders")
            await work.put(type="webhook", webhook={"url": hook})
            end = await work.append("anna", {"item": "tea"})
            await until(lambda: work.has_failed(""))
            with receiving(tmp_path, command, server.streams, port):
                await confirmed(tmp_path, "tea")
                await work.acknowledged("anna", end)
                await work.append("anna", {"item": "rice"}, {"item": "salt"})
                await confirmed(tmp_path, "tea", "rice", "salt")
                other = Pool(server.streams, session, "other")
                await other.put(type="webhook", webhook={"url": hook})
                await other.append("one", {"item": "gold"})
                await until(lambda: other.has_failed("401"))
                for field, reason in [
                    ("", "the field Webhook-Signature is not"),
                    (f"t=1778324210,kid=ds_a,ed25519={'A' * 86}", "the signature is of another"),
                ]:
                    headers = {"Webhook-Signature": field}
                    async with session.post(hook, data=b"{}", headers=headers) as answer:
                        assert (answer.status, reason in await answer.text()) == (401, True)
    assert PRINTED in (NODE.parent / "README.md").read_text()


@pytest.mark.usefixtures("processes")
@with_each_receiver
async def test_a_wake_sent_again_or_replayed_is_worked_on_once_and_a_refused_ack_is_repeated(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    refusing = Refusing(503, "0", is_done=True)

    async def lose_first(_: web.Request) -> Fate:
        return Fate.PASSED if len(wakes.heard) > 0 else Fate.LOST_AFTER

    async def hold_back(request: web.Request) -> Fate:
        if request.path.endswith("/callback"):  # until then, the wake is not delivered
            await until(lambda: len(wakes.heard) >= 2, within_s=SERVER_PATIENCE_S)
        return await refusing.decide(request)

    port = free_port()
    wakes = RequestProxy(port, lose_first)
    async with behind(hold_back, refusing.refusal) as (gateway, work), wakes:
        with receiving(tmp_path, command, work.streams, port):
            await work.put(type="webhook", webhook={"url": f"{wakes.url}/hook"})
            direct = Pool(gateway.streams, work.session, "orders")
            end = await direct.append("anna", {"item": "tea"})
            await direct.acknowledged("anna", end)
            assert (await direct.description())["generation"] == 1
            assert len(refusing.refusals) == REFUSED
            first, second = wakes.heard[:2]
            async with work.session.post(
                f"{wakes.url}/hook", data=second.body, headers=second.headers
            ) as answer:  # as somebody who has recorded it
                assert answer.ok
            await until(lambda: "the wake is over" in (tmp_path / "log").read_text())
            await direct.append("anna", {"item": "rice"})
            await confirmed(tmp_path, "tea", "rice")
    assert json.loads(first.body)["wake_id"] == json.loads(second.body)["wake_id"]


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
        await asyncio.sleep(1.5)  # of leases of a second
        if job.generation == 1:
            raise RuntimeError
        seen.extend(await messages_of(job))

    async with Client(work.streams) as client, hooked(work, client, handle) as (pool, generations):
        end = await work.append("a", 1, 2)
        await pool.acknowledged("a", end)
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
