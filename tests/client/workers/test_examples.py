"""The receivers of docs/examples/webhook, in Python and Node, as real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.client.workers.pools import Pool
from tests.subscriptions.receivers import receiver
from tests.support.ports import accepts, free_port
from tests.support.processes import ROOT, headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

EXAMPLE = ROOT / "docs/examples/webhook"
PRINTED = "orders/anna: your order of tea has arrived"
RECEIVERS = [
    pytest.param([sys.executable, str(EXAMPLE / "receiver.py")], id="python"),
    pytest.param([sys.executable, str(EXAMPLE / "receiver_flask.py")], id="flask"),
    pytest.param(["node", str(EXAMPLE / "receiver.mjs")], id="node"),
]


@pytest.fixture
def own_server(processes: None) -> Iterator[Headgate]:
    with headgate() as started:
        yield started


class Example:
    """A receiver of the example at a port, which may be started and killed."""

    def __init__(self, command: list[str], server: Headgate) -> None:
        self.server = server
        self.port = free_port()
        self.streams = server.streams
        self._command = command
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The URL of the webhook."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self, stderr: int | None = None) -> None:
        """Start the receiver, and wait until it listens."""
        variables = {"WEBHOOK_STREAMS": self.streams, "WEBHOOK_PORT": str(self.port)}
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
        await until(lambda: accepts(self.port), "the receiver", within_s=SERVER_PATIENCE_S)

    async def line(self) -> str:
        """Return the next line that the receiver prints."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), SERVER_PATIENCE_S)
        return line.decode().rstrip("\n")

    async def kill(self) -> None:
        """Kill the receiver."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@contextlib.asynccontextmanager
async def example(
    command: list[str], server: Headgate, **members: Any
) -> AsyncIterator[tuple[Example, Pool]]:
    """A receiver with the subscription of the README, which is not started."""
    made = Example(command, server)
    async with aiohttp.ClientSession() as session:
        work = Pool(server.streams, session, "orders")
        await work.put(type="webhook", webhook={"url": made.url}, **members)
        try:
            yield made, work
        finally:
            await made.kill()


@pytest.mark.parametrize("command", RECEIVERS)
async def test_the_receiver_confirms_an_order_and_acknowledges_it(
    command: list[str], own_server: Headgate
) -> None:
    async with example(command, own_server) as (made, work):
        await made.start()
        end = (await work.append("anna", {"item": "tea"})).next_offset
        assert await made.line() == PRINTED
        await work.acknowledged("anna", end)
        await work.append("anna", {"item": "rice"}, {"item": "salt"})
        lines = [await made.line(), await made.line()]
        assert [line.split()[4] for line in lines] == ["rice", "salt"]
    assert PRINTED in (EXAMPLE / "README.md").read_text()


@pytest.mark.parametrize("command", RECEIVERS)
async def test_an_order_arrives_although_the_receiver_was_down(
    command: list[str], own_server: Headgate
) -> None:
    async with example(command, own_server) as (made, work):
        await work.append("anna", {"item": "tea"})

        async def has_failed() -> bool:
            return bool((await work.description())["last_error"])

        await until(has_failed)
        await made.start()
        assert await made.line() == PRINTED


@pytest.mark.parametrize("command", RECEIVERS)
async def test_requests_that_headgate_has_not_signed_for_this_receiver_get_401_and_are_told_why(
    command: list[str], own_server: Headgate
) -> None:
    async with (
        example(command, own_server) as (made, work),
        receiver() as recorder,
    ):
        await made.start()
        other = Pool(own_server.streams, work.session, "other")
        await other.put(type="webhook", webhook={"url": recorder.url})
        await work.stream("other/one").create(content_type="application/json", body=b"[1]")
        await recorder.wake()
        body, signature = recorder.received[0]
        time = re.sub(r"t=\d+", "t=1778324210", signature)
        malformed = "the field Webhook-Signature is not t=…,kid=…,ed25519=…"
        for sent, field, reason in [
            (body, signature, "the wake is for another subscription, 'other'"),
            (body, time, "the signature is of another time: check the clocks of both machines"),
            (
                body + b" ",
                signature,
                "the signature is wrong: it is over the body byte for byte as it was sent",
            ),
            (
                body,
                signature.replace("kid=ds_", "kid=ds_another"),
                "the signature has a key that is not in the server's key set",
            ),
            (body, signature.replace("ed25519=", "ed25519=A"), malformed),
            (body, "", malformed),
        ]:
            headers = {"Webhook-Signature": field}
            async with work.session.post(made.url, data=sent, headers=headers) as answer:
                assert answer.status == 401, field
            assert await made.line() == f"answered 401: {reason}"
        await work.append("anna", {"item": "tea"})
        assert await made.line() == PRINTED


@pytest.mark.parametrize("command", RECEIVERS)
async def test_a_wake_is_sent_again_when_the_receiver_was_killed_before_it_was_done(
    command: list[str], own_server: Headgate
) -> None:
    async with example(command, own_server, lease_ttl_ms=1000) as (made, work):
        await made.start()
        # The stream cannot be read as JSON, so it is never acknowledged.
        await work.append("anna", "no JSON", content_type="text/plain")

        async def has_begun() -> bool:
            return bool((await work.description())["generation"] == 1)

        await until(has_begun)
        await made.kill()
        end = (await work.append("ben", {"item": "tea"})).next_offset
        await work.stream(work.path("anna")).delete()
        await made.start()
        assert await made.line() == PRINTED.replace("anna", "ben")
        await work.acknowledged("ben", end)


@pytest.mark.parametrize("command", RECEIVERS[:2])
async def test_a_receiver_that_cannot_fetch_the_keys_prints_why(
    command: list[str], own_server: Headgate
) -> None:
    async with example(command, own_server) as (made, work):
        made.streams = own_server.url
        await made.start()
        await work.append("anna", {"item": "tea"})
        why = f"{own_server.url}/__ds/jwks.json: streams are below /v1/stream/ (404 Not Found)"
        assert await made.line() == f"answered 503: {why}"
