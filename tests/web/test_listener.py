"""Whoever connects is taken soon, however busy the others keep the gateway, and they go on too."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Any

import pytest

from headgate_gateway.web.connections.listener import AT_ONCE, ConnectionListener
from tests.support.ports import free_port
from tests.support.serving import get, put, serving
from tests.support.waiting import PATIENCE_S

LAST = get("s?offset=-1", "Connection: close")


def without_hits(wire: bytes) -> bytes:
    return re.sub(rb"X-Cache-Hits: \d+", b"", wire)


@pytest.mark.parametrize("count", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
async def test_pending_connections_are_accepted_together_up_to_a_bound(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one a pass of the loop, the last of 256 waits for 255 passes full of others' reads."""
    async with serving(max_connections=1000) as gateway:
        await gateway.ask(put("s", body=b"x"))
        _, usual = [await gateway.ask(LAST) for _ in range(2)]
        connections = gateway.server.connections
        enter, entered = connections.enter, 0

        def entering(*newcomer: Any) -> None:
            nonlocal entered
            entered += 1
            enter(*newcomer)

        monkeypatch.setattr(connections, "enter", entering)
        port = free_port()
        door = ConnectionListener(gateway.server)
        await door.open("127.0.0.1", port)
        taken: list[int] = []
        try:
            with contextlib.ExitStack() as stack:
                # The system makes them while the loop does not run.
                clients = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                    for _ in range(count)
                ]
                for client in clients:
                    client.sendall(LAST)
                while entered < count:
                    before = entered
                    await asyncio.sleep(0)  # one pass
                    taken += filter(None, [entered - before])
                full, rest = divmod(count, AT_ONCE)
                assert taken == [AT_ONCE] * full + [rest] * bool(rest)
                for client in clients:
                    got = await asyncio.to_thread(received, client)
                    assert without_hits(got) == without_hits(usual.wire)
        finally:
            door.close()


def received(client: socket.socket) -> bytes:
    with client.makefile("rb") as answer:
        return answer.read()
