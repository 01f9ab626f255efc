from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections.bare_transport import HIGH_WATER, BareTransport, Descriptors
from tests.support.gated_log import turns
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LONG = b"x" * (4 << 20)  # more than the system takes at once, with the buffers of these sockets
# Bytes. A buffer without a size of its own grows, on loopback to several MiB after busy minutes.
SOCKET_BUFFER = 1 << 18


class Heard(asyncio.Protocol):
    """What a transport tells, in its order; `happened` is set whenever it does."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.happened = asyncio.Event()

    def _note(self, word: str) -> None:
        self.told.append(word)
        self.happened.set()

    def data_received(self, data: bytes) -> None:
        self._note(data.decode())

    def eof_received(self) -> None:
        self._note("eof")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost" if exc is None else type(exc).__name__)

    async def until(self, word: str) -> None:
        async with asyncio.timeout(10):
            while word not in self.told:
                self.happened.clear()
                await self.happened.wait()


class Scene:
    """A connection whose end here has changed its transport, and the client's end of it."""

    def __init__(self, descriptors: Descriptors, old: asyncio.Transport, client: socket.socket):
        self.descriptors = descriptors
        self.old = old
        self.client = client
        self.heard = Heard()
        taken = descriptors.adopt(old)
        assert isinstance(taken, BareTransport)
        self.transport = taken
        taken.set_protocol(self.heard)

    async def receive(self, size: int) -> bytes:
        loop, received = asyncio.get_running_loop(), b""
        async with asyncio.timeout(10):
            while len(received) < size:
                piece = await loop.sock_recv(self.client, 1 << 20)
                if not piece:
                    break
                received += piece
        return received


@contextlib.contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


async def connected() -> tuple[asyncio.Transport, socket.socket]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)  # inherited
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, server)
    return transport, client


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Descriptors, asyncio.Transport, socket.socket]]:
    descriptors = Descriptors(asyncio.get_running_loop(), set())
    old, client = await connected()
    with client:
        try:
            yield descriptors, old, client
        finally:
            descriptors.close()


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with pair() as ends:
        yield Scene(*ends)


def open_sockets() -> int:
    """And epolls."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            found += str(link.readlink()).startswith(("socket:", "anon_inode:[eventpoll]"))
    return found


async def test_a_connection_sends_and_receives_over_its_new_transport() -> None:
    async with scene() as it:
        await asyncio.sleep(0)  # the old one is closed
        assert it.transport.get_extra_info("peername") == ("127.0.0.1",)
        it.transport.write(b"one")
        it.transport.writelines([b" two", b" three"])
        assert await it.receive(13) == b"one two three"
        it.client.send(b"hello")
        await it.heard.until("hello")
        assert it.heard.told == ["hello"]


async def test_a_transport_with_unsent_bytes_is_not_replaced() -> None:
    async with pair() as (descriptors, old, _):
        old.write(LONG * 4)
        assert descriptors.adopt(old) is old
        old.abort()
        await asyncio.sleep(0)
        assert descriptors.adopt(old) is old


async def test_a_transport_whose_socket_cannot_be_watched_is_not_replaced() -> None:
    descriptors = Descriptors(asyncio.get_running_loop(), set())
    old, client = await connected()
    before = open_sockets()
    with client, limited(resource.RLIMIT_NOFILE, 0):
        assert descriptors.adopt(old) is old
    assert open_sockets() == before - 1  # the client's
    old.abort()
    descriptors.close()


async def test_a_slow_client_pauses_the_protocol_and_gets_all_bytes_in_order() -> None:
    async with scene() as it:
        it.transport.write(LONG)
        assert it.transport.get_write_buffer_size() > HIGH_WATER
        assert it.heard.told == ["pause"]
        it.transport.write(b"a")
        it.transport.writelines([b"b", b"c"])
        assert it.heard.told == ["pause"]
        assert await it.receive(len(LONG) + 3) == LONG + b"abc"
        await it.heard.until("resume")
        assert it.transport.get_write_buffer_size() == 0
        it.transport.write(b"d")
        assert await it.receive(1) == b"d"


async def test_many_parts_are_sent_in_order() -> None:
    parts = [b"%d," % number * (number % 7) for number in range(3000)]
    async with scene() as it:
        it.transport.writelines(parts)
        it.transport.write(LONG)
        it.transport.writelines([b"a", memoryview(b"b"), *parts])
        whole = b"".join((*parts, LONG, b"ab", *parts))
        assert await it.receive(len(whole)) == whole
        assert it.transport.get_write_buffer_size() == 0


async def test_pieces_that_are_written_together_arrive_together() -> None:
    """Of sockets whose reads end where writes do; of a stream it would be a matter of chance."""
    old, unused = await connected()
    ours, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, client, unused:
        owner: set[asyncio.Transport] = set()
        loop = asyncio.get_running_loop()
        transport = BareTransport(loop, owner, old, os.dup(ours.fileno()))
        transport.set_protocol(Heard())
        transport.writelines([b"size", b"", b"data", b"control"])
        assert client.recv(100) == b"sizedatacontrol"
        transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("above", [0, 1])
async def test_a_protocol_is_paused_above_the_write_buffer_limit(above: int) -> None:
    async with scene() as it:
        it.transport.write(LONG)
        it.heard.told.clear()
        it.transport._is_paused = False
        size = it.transport.get_write_buffer_size()
        it.transport.set_write_buffer_limits(high=size + 1 - above)
        it.transport.write(b"x")
        assert it.heard.told == ["pause"] * above


async def test_a_closed_transport_ends_after_its_unsent_bytes_are_read() -> None:
    async with scene() as it:
        it.transport.set_write_buffer_limits(high=1)  # resumed by the last byte, in no step before
        it.transport.write(LONG)
        it.transport.close()
        assert it.transport.is_closing()
        it.transport.write(b"not any more")
        assert await it.receive(len(LONG) + 1) == LONG
        await it.heard.until("lost")
        assert it.heard.told == ["pause", "lost"]


async def test_a_client_that_disconnects_is_reported_once() -> None:
    async with scene() as it:
        it.client.close()
        await it.heard.until("lost")
        it.transport.write(b"x")
        it.transport.close()
        it.transport.abort()
        await turns()
        assert it.heard.told == ["eof", "lost"]


@pytest.mark.parametrize("writes", [False, True])
async def test_a_reset_found_by_reading_or_writing_is_reported(writes: bool) -> None:
    async with scene() as it:
        it.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        it.client.close()
        if writes:
            it.transport.write(b"x")
        async with asyncio.timeout(10):
            await it.heard.happened.wait()
        assert it.heard.told in (["ConnectionResetError"], ["BrokenPipeError"])
        assert it.transport.is_closing()


async def test_a_client_that_disconnects_ends_a_transport_with_unsent_bytes() -> None:
    async with scene() as it:
        it.transport.write(LONG)
        it.transport.close()
        it.client.close()
        await until(lambda: len(it.heard.told) == 2)
        assert it.transport.get_write_buffer_size() == 0


async def test_a_protocol_set_after_the_abort_is_told_of_the_lost_connection() -> None:
    async with pair() as (descriptors, old, _):
        transport = descriptors.adopt(old)
        transport.abort()
        heard = Heard()
        transport.set_protocol(heard)
        await heard.until("lost")
        assert old.is_closing()


async def test_a_socket_is_detached_only_after_all_bytes_are_sent() -> None:
    async with scene() as it:
        it.transport.write(LONG)
        assert it.transport.detach() is None
        await it.receive(len(LONG))
        await until(lambda: it.transport.get_write_buffer_size() == 0)
        given = it.transport.detach()
        assert given is not None
        with given:
            given.send(b"on")
            assert await it.receive(2) == b"on"
        assert it.transport.detach() is None
        it.transport.abort()
        await asyncio.sleep(0)
        assert "lost" not in it.heard.told


async def test_many_ready_sockets_are_all_read_and_closed() -> None:
    async with scene():
        pass  # the loop has what it needs
    await turns()
    before = open_sockets()
    descriptors = Descriptors(asyncio.get_running_loop(), set())
    scenes = [Scene(descriptors, *await connected()) for _ in range(257)]
    for it in scenes:
        it.client.send(b"x")
    for it in scenes:
        await it.heard.until("x")
    descriptors.close()
    descriptors.close()
    for it in scenes:
        await it.heard.until("lost")
        it.client.close()
    await until(lambda: open_sockets() == before)
