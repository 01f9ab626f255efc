"""Readers behind a relay that goes silent, and behind one that is slow, of each kind of response.

A connection ends once its client's system acknowledges nothing for `http.body_timeout`, and never
while it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.serving import Serving

KIB = 1024
MIB = KIB * KIB
TIMEOUT_S = 2.0  # in place of 30
QUICK = 400 * KIB  # bytes a second, before the relay goes silent: more than a step of a window
BUFFER = 4 * KIB  # of a slow relay: the kernel doubles it, and opens the window by half of that
SLOW = 8 * KIB  # bytes a second, so that a window opens twice within TIMEOUT_S
STAYS_S = 3 * TIMEOUT_S
LONG = b"x" * 16 * MIB


class Relay:
    """A relay to a gateway that takes a response by `rate` bytes a second, until it is silent."""

    def __init__(self, port: int, rate: int, buffer: int = 0) -> None:
        self._port = port
        self._rate = rate
        self._buffer = buffer
        self.taken = 0  # bytes
        self.is_silent = False
        self.has_ended = False

    async def run(self, request: bytes) -> None:
        """Pass on a request, and take its response."""
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            if self._buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            await loop.sock_connect(connection, ("127.0.0.1", self._port))
            await loop.sock_sendall(connection, request)
            began = loop.time()
            while not self.is_silent:
                with contextlib.suppress(ConnectionError):
                    data = await loop.sock_recv(connection, max(1, self._rate // 8))
                    self.taken += len(data)
                if not data:
                    self.has_ended = True
                    return
                await asyncio.sleep(max(0.0, self.taken / self._rate - (loop.time() - began)))
            await asyncio.Event().wait()  # connected, and nothing more is read


@contextlib.asynccontextmanager
async def relay(
    gateway: Serving, request: bytes, rate: int, buffer: int = 0
) -> AsyncIterator[Relay]:
    one = Relay(gateway.port, rate, buffer)
    running = asyncio.create_task(one.run(request))
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def write_on(gateway: Serving) -> None:
    """Append more than a reader takes, until this is cancelled."""
    while True:
        assert (await gateway.ask(post("s", b"x" * 64 * KIB))).status == 204
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def served(kind: str) -> AsyncIterator[tuple[Serving, bytes]]:
    """A gateway with a response of a kind that is long, and the request for it."""
    bounds: dict[str, Any] = {"max_append": len(LONG), "max_pending_appends": 2 * len(LONG)}
    bounds |= {"body_timeout": TIMEOUT_S, "sse_max_age": 600.0}
    said = answer(LONG, "Content-Type: text/plain")
    async with RawOrigin(said) as origin, edge_serving(origin, **bounds) as gateway:
        await gateway.ask(put("s", body=LONG if kind == "catch-up" else b"x"))
        if kind != "sse":
            yield gateway, get("s?offset=-1") if kind == "catch-up" else post(f"{EDGE}/s", b"x")
            return
        writing = asyncio.create_task(write_on(gateway))
        try:
            yield gateway, get("s?offset=-1&live=sse")
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


KINDS = ["catch-up", "sse", "relayed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reader_whose_path_goes_silent_is_gone_after_the_timeout(kind: str) -> None:
    time = asyncio.get_running_loop().time
    async with served(kind) as (gateway, request), relay(gateway, request, QUICK) as one:
        await until(lambda: one.taken > QUICK)
        one.is_silent = True
        began = time()
        await until(lambda: gateway.limits.refused["body_timeout"] == 1)
        assert TIMEOUT_S * 0.8 < time() - began < TIMEOUT_S * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reader_behind_a_slow_path_stays(kind: str) -> None:
    async with served(kind) as (gateway, request), relay(gateway, request, SLOW, BUFFER) as one:
        await until(lambda: one.has_ended or one.taken > SLOW * STAYS_S)
        assert not one.has_ended
        assert gateway.limits.refused["body_timeout"] == 0


@pytest.mark.parametrize("kind", ["sse", "catch-up"])
async def test_a_reader_that_takes_nothing_of_what_its_socket_holds_is_gone_too(kind: str) -> None:
    """As of an answer of a few tokens a second: the gateway itself holds nothing for it."""
    async with serving(body_timeout=1.0, sse_max_age=600.0) as gateway:
        await gateway.ask(put("s", body=b"x" * 128 * KIB))
        client = await gateway.connect(receive_buffer=BUFFER)
        client.pause()
        client.send(get("s?offset=-1" + "&live=sse" * (kind == "sse")))
        await until(lambda: gateway.limits.refused["body_timeout"] == 1)
        await until(lambda: gateway.limits.connections == 0)
