"""Subscriptions of hosts of MCP over restarts and kills, and how they are ended for good."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.features.delivery.keys import FILE
from gateway.logs.sqlite.log import SqliteLog
from tests.mcp_events.hosts import (
    EventsExtension,
    Host,
    append,
    create,
    engine_of,
    guarded,
    host,
    subscribing,
    tokens_file,
    types_file,
)
from tests.mcp_events.receivers import hook
from tests.mcp_events.test_webhooks import asked, pass_time, quiet
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate
from tests.support.tokens_files import token
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 50 if IS_WHOLE else 3
JSON = {"Content-Type": "application/json", "Authorization": f"Bearer {token('all')}"}


async def test_a_subscription_goes_on_after_a_restart_with_its_secret(tmp_path: Path) -> None:
    async with hook(statuses=[500] * 3) as at:
        async with (
            guarded(tmp_path, SqliteLog(tmp_path / "log")) as gateway,
            host(gateway, token=token("all")) as it,
        ):
            await create(gateway, "a/x")
            made = await it.ask("events/subscribe", **asked(at))
            await append(gateway, "a/x", {"n": 1})
            await until(lambda: len(at.messages) == 1)
            await quiet(gateway)
        at.statuses.clear()
        async with guarded(tmp_path, SqliteLog(tmp_path / "log")) as gateway:
            pass_time(gateway, 2.0)
            await append(gateway, "a/x", {"n": 2})
            await at.has(1, 2)
            assert at.challenges == 1
            async with host(gateway, token=token("all")) as it:
                renewed = await it.ask("events/subscribe", **asked(at))
            assert renewed["id"] == made["id"]
            assert at.challenges == 1  # the stored subscription is the record of the first


async def test_without_the_key_file_a_subscription_waits_for_its_renewal(tmp_path: Path) -> None:
    async with hook() as at:
        async with (
            guarded(tmp_path, SqliteLog(tmp_path / "log")) as gateway,
            host(gateway, token=token("all")) as it,
        ):
            await create(gateway, "a/x")
            await it.ask("events/subscribe", **asked(at))
        (key_file,) = tmp_path.rglob(FILE)
        key_file.unlink()
        async with guarded(tmp_path, SqliteLog(tmp_path / "log")) as gateway:
            await append(gateway, "a/x", {"n": 1})
            await quiet(gateway)
            assert at.messages == []
            async with host(gateway, token=token("all")) as it:
                await it.ask("events/subscribe", **asked(at))
            await at.has(1)


async def test_a_revoked_credential_ends_its_subscription_and_the_receiver_hears_of_it(
    tmp_path: Path,
) -> None:
    async with subscribing(tmp_path, "other") as (at, gateway, it):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))
        (subscription,) = engine_of(gateway).by_id.values()
        principal = subscription.owner.principal
        assert principal is not None
        gateway.authorities.start()
        tokens_file(tmp_path, without="other")
        await until(lambda: principal.until == 0.0)
        await append(gateway, "a/x", {"n": 1})
        for _ in range(3):
            await quiet(gateway)
            pass_time(gateway, 10.0)
        await until(lambda: bool(at.messages))
        await quiet(gateway)
        told = at.messages[-1]
        assert (told["type"], told["error"]["code"]) == ("terminated", -32012)
        assert engine_of(gateway).by_id == {}
        await gateway.authorities.stop()


async def test_a_type_that_is_taken_from_the_file_ends_its_subscriptions(tmp_path: Path) -> None:
    one, two = (f'[[events]]\nname = "{it}"\nstreams = "a/*"\n' for it in ("one", "two"))
    async with hook() as at:
        own = types_file(tmp_path, one + two)
        async with (
            guarded(tmp_path, SqliteLog(tmp_path / "log"), own) as gateway,
            host(gateway, token=token("all")) as it,
        ):
            await create(gateway, "a/x")
            for name in ("one", "two"):
                await it.ask("events/subscribe", **asked(at, name=name))
        types_file(tmp_path, two)
        async with guarded(tmp_path, SqliteLog(tmp_path / "log"), own) as gateway:
            await append(gateway, "a/x", {"n": 1})
            await until(lambda: len(at.messages) == 2)
            await quiet(gateway)
            (ended,) = [one for one in at.messages if "type" in one]
            assert ended["error"]["data"] == {"kind": "event"}
            assert at.accepted == [1]
            assert len(engine_of(gateway).by_id) == 1


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600)
def test_a_gateway_that_is_killed_again_and_again_sends_each_event(tmp_path: Path) -> None:
    server = Headgate(environment={"HEADGATE_CREDENTIALS__TOKENS_FILE": tokens_file(tmp_path)})
    server.serve_routes(
        {
            "prefix": "/v1/stream",
            "storage": f"file:{tmp_path}/log",
            "auth": "tokens",
            "mcp_events": True,
        }
    )
    try:
        asyncio.run(send_over_kills(server))
    finally:
        server.kill()
    assert "Traceback" not in server.output()


async def send_over_kills(server: Headgate) -> None:
    """Append while a gateway is killed again and again; each event comes, with one id."""
    async with hook() as at, aiohttp.ClientSession() as session:
        await asyncio.to_thread(server.start)
        url, sent = f"{server.streams}/a/x", 0
        async with session.put(url, headers=JSON) as answer:
            assert answer.status == 201
        await _subscribe(server, asked(at))
        for _ in range(KILLS):
            reached = len(at.accepted)
            for _ in range(30):
                body = json.dumps([{"n": sent}, {"n": sent + 1}])
                async with session.post(url, data=body, headers=JSON) as answer:
                    assert answer.status == 204
                sent += 2
            await until(lambda reached=reached: len(at.accepted) > reached)  # type: ignore[misc] # bound now
            server.kill()
            await asyncio.to_thread(server.start)
        await until(lambda: set(at.accepted) == set(range(sent)), within_s=SERVER_PATIENCE_S)
        ids: dict[Any, str] = {}
        for one in at.messages:
            n = one["data"]["message"]["n"]
            assert ids.setdefault(n, one["eventId"]) == one["eventId"]
        assert list(ids) == sorted(ids)  # in order, but for what was repeated
        assert at.challenges == 1


async def _subscribe(server: Headgate, params: dict[str, Any]) -> None:
    headers = {"Authorization": JSON["Authorization"]}
    async with httpx2.AsyncClient(headers=headers, verify=False) as http:
        transport = streamable_http_client(f"{server.streams}/mcp", http_client=http)
        async with Client(transport) as client:
            await Host(client, EventsExtension()).ask("events/subscribe", **params)
