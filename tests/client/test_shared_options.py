"""The header fields and the timeout of a client, in all that it makes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

import headgate
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.raw_origin import Wire

    Use = Callable[[headgate.Client], Awaitable[object]]

FIELDS = {"X-Tenant": "blue"}
QUICK_S = 0.2


async def absent(wire: Wire) -> None:
    await wire.send(answer(b"", status="404 Not Found"))


async def mute(wire: Wire) -> None:
    """Answer nothing for as long as the client waits."""
    await wire.rest()


async def work(hg: headgate.Client) -> None:
    async with hg.worker("pool") as worker:
        async for _ in worker:
            pass


async def run(hg: headgate.Client) -> None:
    await hg.runs.state("1")


async def chat(hg: headgate.Client) -> None:
    await hg.chats.history("1")


USES = pytest.mark.parametrize("use", [run, chat, work])


@USES
async def test_runs_chats_and_workers_send_the_header_fields_of_their_client(use: Use) -> None:
    async with RawOrigin(absent) as origin, headgate.Client(origin.url, headers=FIELDS) as hg:
        with contextlib.suppress(headgate.StreamError):
            await use(hg)
        assert origin.heard
        assert {heard.named.get("x-tenant") for heard in origin.heard} == {"blue"}


@USES
async def test_runs_chats_and_workers_have_the_timeout_of_their_client(use: Use) -> None:
    async with RawOrigin(mute) as origin, headgate.Client(origin.url, timeout=QUICK_S) as hg:
        using = asyncio.ensure_future(use(hg))
        # A worker repeats its request for as long as it takes.
        await until(lambda: using.done() or len(origin.heard) > 1)
        using.cancel()
        with contextlib.suppress(headgate.Unavailable, asyncio.CancelledError):
            await using


async def test_the_options_of_a_worker_replace_those_of_its_client() -> None:
    async with RawOrigin(absent) as origin, headgate.Client(origin.url, headers=FIELDS) as hg:
        with contextlib.suppress(headgate.StreamNotFound):
            async with hg.worker("pool", headers={"X-Tenant": "red"}, timeout=1) as worker:
                async for _ in worker:
                    pass
        assert origin.heard[0].named["x-tenant"] == "red"


async def lease_fields(token_of_client: dict[str, str], is_here: bool) -> list[str]:
    """The header fields of a request about the lease of a webhook, at this server or another."""
    wake = {"subscription_id": "s", "wake_id": "w", "generation": 1, "streams": []}
    async with RawOrigin(absent) as origin, RawOrigin(absent) as other:
        receiver = origin if is_here else other
        document = {**wake, "callback_url": f"{receiver.url}/ack", "callback_token": "lease"}
        async with headgate.Client(origin.url, headers=FIELDS | token_of_client) as hg:
            with contextlib.suppress(headgate.StreamError):
                async with hg.job(document):
                    pass
        return receiver.heard[0].fields


async def test_requests_about_a_lease_have_the_header_fields_at_the_same_server_only() -> None:
    assert "X-Tenant: blue" in await lease_fields({}, is_here=True)
    assert "X-Tenant: blue" not in await lease_fields({}, is_here=False)


async def test_the_token_of_a_lease_replaces_an_authorization_in_any_case() -> None:
    fields = await lease_fields({"authorization": "Bearer mine"}, is_here=True)
    sent = [field for field in fields if field.lower().startswith("authorization:")]
    assert [field.partition(": ")[2] for field in sent] == ["Bearer lease"]
