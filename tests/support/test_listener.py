"""The listening port of the tests: it leaves no connection open, whatever state one is in."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.support.listener import Listener


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
