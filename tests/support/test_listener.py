"""The listening port of the tests: it leaves no connection open, whatever state one is in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.cutting_proxy import CuttingProxy
from tests.support.delaying_proxy import DelayingProxy
from tests.support.holding_relay import HoldingRelay
from tests.support.listener import Listener
from tests.support.silent_relay import SilentRelay
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

RELAYS: dict[str, Callable[[int], Listener]] = {
    "cutting": partial(CuttingProxy, seed=1, at_most=1e6),
    "delaying": partial(DelayingProxy, latency_s=0.0),
    "holding": partial(HoldingRelay, words=b"-"),
    "holding replies": partial(HoldingRelay, words=b"-", passes_words=True),
    "silent": SilentRelay,
}


async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("turns", range(6))
async def test_leaving_a_test_listener_closes_its_connections_in_every_state(turns: int) -> None:
    with contextlib.ExitStack() as stack:
        async with Listener(hold) as listener:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
                for _ in range(3)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
        assert listener.open == 0
        for client in clients:
            client.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


@pytest.mark.parametrize("name", RELAYS)
@pytest.mark.parametrize("turns", range(8))
async def test_leaving_a_relay_closes_its_connections_whenever_its_client_has_left(
    turns: int, name: str
) -> None:
    async with Listener(hold) as server:
        async with RELAYS[name](server.port) as relay:
            with socket.create_connection(("127.0.0.1", relay.port)):
                await until(lambda: server.open == 1)
            for _ in range(turns):
                await asyncio.sleep(0)
        writers = [it for it in gc.get_objects() if isinstance(it, asyncio.StreamWriter)]
        left = [it for it in writers if not it.is_closing()]
        assert server.port not in [it.get_extra_info("peername")[1] for it in left]
        await until(lambda: server.open == 0)


async def test_an_exception_in_a_test_listener_is_raised_on_leaving_it() -> None:
    async def fail(*_: object) -> None:
        raise ValueError("no such answer")

    async def talk() -> None:
        async with Listener(fail) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            assert await reader.read() == b""
            writer.close()

    with pytest.raises(ValueError, match="no such answer"):
        await talk()
