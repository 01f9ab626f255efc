"""A server that stops waits for the first request of each connection that has just come."""

from __future__ import annotations

import asyncio

from tests.support.gated_log import turns
from tests.support.serving import get, serving
from tests.support.waiting import PATIENCE_S, until

LONG_S = 10 * PATIENCE_S  # that nobody waits for


async def test_a_stop_waits_for_the_first_request_of_a_connection_and_no_second_one() -> None:
    async with serving() as gateway:
        connections = gateway.server.connections
        used, client = await gateway.connect(), await gateway.connect()
        assert (await used.ask(get("none"))).status == 404
        await until(lambda: len(connections) == 2)
        gateway.server.begin_close()
        waiting = asyncio.create_task(connections.first_requests(LONG_S))
        await turns(20)
        assert not waiting.done()
        assert (await client.ask(get("none"))).status == 404
        await asyncio.wait_for(waiting, PATIENCE_S)
        await until(lambda: len(connections) == 1)  # the one that was used before


async def test_a_stop_does_not_wait_for_a_connection_that_is_gone() -> None:
    async with serving() as gateway:
        connections = gateway.server.connections
        client = await gateway.connect()
        await until(lambda: len(connections) == 1)
        gateway.server.begin_close()
        waiting = asyncio.create_task(connections.first_requests(LONG_S))
        await turns(20)
        client.close()
        await asyncio.wait_for(waiting, PATIENCE_S)


async def test_a_stop_waits_no_longer_than_it_is_told_for_a_silent_connection() -> None:
    async with serving() as gateway:
        await gateway.connect()
        connections = gateway.server.connections
        await until(lambda: len(connections) == 1)
        await asyncio.wait_for(connections.first_requests(0.01), PATIENCE_S)
        (connection,) = connections
        assert connection.awaits_first_request
