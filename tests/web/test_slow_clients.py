"""Clients that never end a request are let go in time, and others are served beside them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.requests import HELD_BYTES
from tests.faults.slow_clients import KINDS
from tests.support.serving import get, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client
    from tests.support.serving import Serving

OF_EACH = 40
MANY = 2_000  # requests: a megabyte
READ_BYTES = 256 * 1024  # that a transport may take at once


async def slow_ones(gateway: Serving, begins: bytes) -> list[Client]:
    clients = [await gateway.connect() for _ in range(OF_EACH)]
    for client in clients:
        client.send(begins)
    return clients


async def trickle(clients: list[Client], gateway: Serving) -> None:
    """A byte of each, again and again, until the server has none of them."""
    while gateway.limits.connections:
        for client in clients:
            if not client.is_closing:  # cut, and this end has heard of it
                client.send(b"x")
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("quick_sweeps")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_client_is_disconnected_in_time_while_others_are_served(kind: str) -> None:
    begins, trickles = KINDS[kind]
    async with serving(header_timeout=0.5, body_timeout=0.5, max_connections=200) as gateway:
        await gateway.ask(put("slow", body=b"one"))
        await until(lambda: gateway.limits.connections == 0)
        clients = await slow_ones(gateway, begins)
        await until(lambda: gateway.limits.connections == OF_EACH)
        good = await gateway.ask(get("slow?offset=-1"))
        assert (good.status, good.body) == (200, b"one")
        assert (await gateway.ask(post("slow", b"two"))).status == 204
        if trickles:
            await trickle(clients, gateway)
        await until(lambda: gateway.limits.connections == 0)
        refused = gateway.limits.refused
        assert sum(refused.values()) == OF_EACH
        limits = {name for name, count in refused.items() if count}
        of_bodies = {"body_timeout", "min_body_rate"}
        assert limits <= (of_bodies if "body" in kind else {"header_timeout"})
        assert gateway.limits.receiving_bytes == 0


async def test_many_pipelined_requests_are_answered_while_the_server_holds_few() -> None:
    """What is sent ahead waits in the sockets."""
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await gateway.connect()
        read = "s?offset=-1", f"X-Long: {'x' * 400}"
        asked = get(*read) * (MANY - 1) + get(*read, "Connection: close")
        sending = asyncio.create_task(client.send_all(asked))
        await until(lambda: gateway.limits.connections == 1)
        (connection,) = gateway.server.connections
        assert isinstance(connection, Connection)
        answers = asyncio.create_task(client.rest())
        requests, held = connection.requests, 0
        while not answers.done():
            held = max(held, len(requests.held))
            await asyncio.sleep(0.002)  # looked at often; nothing is waited for
        await sending
        assert answers.result().count(b"HTTP/1.1 200 OK\r\n") == MANY
        assert held <= HELD_BYTES + READ_BYTES


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_a_body_that_follows_an_upgrade_offer_later_is_stored(protocol: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        offer = post("s", b"data", "Connection: Upgrade", f"Upgrade: {protocol}")
        handled = gateway.watch_handlers()
        client.send(offer[:-2])
        await until(lambda: len(handled) == 1)
        client.send(offer[-2:] + post("s", b"dropped"))
        answered = await client.answer()
        assert (answered.status, answered.get("Connection")) == (204, "close")
        assert await client.rest() == b""
        assert (await gateway.ask(get("s?offset=-1"))).body == b"data"


@pytest.mark.parametrize(
    "lines", [("Connection: Upgrade", "Upgrade: h2c"), ("Transfer-Encoding: chunked",)]
)
async def test_requests_pipelined_behind_an_event_stream_with_a_body_close_the_connection(
    lines: tuple[str, ...],
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"1"))
        client = await gateway.connect()
        body = b"0\r\n\r\n" if "Transfer-Encoding: chunked" in lines else b""
        client.send(get("s?offset=-1&live=sse", *lines) + body + get("s?offset=-1"))
        assert (await client.answer(to_head=True)).get("Connection") == "close"
        await client.read_until(b"upToDate")
        await gateway.ask(request("POST", "s", "Stream-Closed: true"))
        assert b"HTTP/1.1" not in await client.rest()
