"""Bodies that a server does not read: nothing of them is kept once their request has ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from headgate_gateway.outbound.client import OutboundClient, OutboundRequest
from headgate_gateway.outbound.connections import Connector
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.telemetry.outbound import CONNECTIONS, UNSENT, samples
from tests.outbound.test_client import client_of
from tests.support.certificates import Authority
from tests.support.outbound import trusting
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.raw_origin import Play, Wire

    Caller = Callable[[OutboundClient, str, Any], Awaitable[object]]

PURPOSE = "test"
LONG = bytes(16 << 20)  # the system takes some of it for a server that reads nothing
SHORT = b"x" * 1000  # and all of this
WAIT_S = 0.5


async def parts() -> AsyncIterator[bytes]:
    for _ in range(256):
        yield bytes(64 << 10)


BODIES: dict[str, Callable[[], bytes | AsyncIterable[bytes]]] = {
    "whole": lambda: LONG,
    "in parts": parts,
}


def held() -> tuple[float, float]:
    """Return the connections and bytes that requests hold, as the metrics have it."""
    found = {it.metric: it.number for it in samples() if it.values == (PURPOSE,)}
    return found[CONNECTIONS], found[UNSENT]


def answers_unread(early: bytes = b"") -> Play:
    """Answer once the head has come, and read nothing else."""

    async def play(wire: Wire) -> None:
        await wire.send(early)
        while not wire.is_closing():
            await asyncio.sleep(0.01)

    return play


async def resets(wire: Wire) -> None:
    await wire.reset()


async def called(client: OutboundClient, url: str, body: bytes | AsyncIterable[bytes]) -> str:
    """Return what a call comes to: a status with a body, or why there is none."""
    request = OutboundRequest("POST", URL(url), {}, body)
    try:
        response = await client.call(request, WAIT_S)
    except NoResponse as failure:
        return failure.kind
    return f"{response.status} {response.body.decode()}"


ENDS = {
    "it is silent": (answers_unread(), "timeout"),
    "it refuses the body": (answers_unread(answer(b"long", status="413 Too Large")), "413 long"),
    "it wants another key": (answers_unread(answer(b"key", status="401 No")), "401 key"),
    "it answers at once": (answers_unread(answer(b"fine")), "200 fine"),
    "it resets the connection": (resets, "broken"),
    "its answer stops": (answers_unread(answer(b"cut")[:-1]), "timeout"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(("play", "outcome"), ENDS.values(), ids=ENDS)
async def test_nothing_is_kept_of_a_body_that_a_server_does_not_read(
    play: Play, outcome: str, body: Callable[[], bytes | AsyncIterable[bytes]]
) -> None:
    async with RawOrigin(play) as server, client_of() as client:
        assert await called(client, server.url, body()) == outcome
        await until(lambda: held() == (0, 0))


BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"


async def gives_up(client: OutboundClient, url: str, body: bytes | AsyncIterable[bytes]) -> None:
    task = asyncio.create_task(called(client, url, body))
    await until(lambda: held()[0] == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def stops(client: OutboundClient, url: str, body: bytes | AsyncIterable[bytes]) -> None:
    task = asyncio.create_task(called(client, url, body))
    await until(lambda: held()[0] == 1)
    await client.close()
    assert await task == "broken"


async def opens(client: OutboundClient, url: str, body: bytes | AsyncIterable[bytes]) -> None:
    request = OutboundRequest("POST", URL(url), {}, body)
    with pytest.raises(NoResponse):
        await client.open(request, WAIT_S)


async def closes(client: OutboundClient, url: str, body: bytes | AsyncIterable[bytes]) -> None:
    response = await client.open(OutboundRequest("POST", URL(url), {}, body), WAIT_S)
    assert await response.content.readany() == b"x"
    response.close()


CALLERS: dict[str, tuple[Play, Caller]] = {
    **{name: (play, called) for name, (play, _) in ENDS.items()},
    "its caller gives up": (answers_unread(), gives_up),
    "its client is closed": (answers_unread(), stops),
    "it does not answer": (answers_unread(), opens),
    "its answer is closed": (answers_unread(BEGUN), closes),
}


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(("play", "request_with"), CALLERS.values(), ids=CALLERS)
async def test_no_cycle_refers_to_a_body_once_its_request_has_ended(
    play: Play,
    request_with: Caller,
    make: Callable[[], bytes | AsyncIterable[bytes]],
) -> None:
    body = bytes(1 << 20) if make() is LONG else make()
    async with RawOrigin(play) as server, client_of(Connector) as client:
        gc.disable()
        try:
            before = sys.getrefcount(body)
            await request_with(client, server.url, body)
            await until(lambda: sys.getrefcount(body) <= before, "nothing else refers to it")
        finally:
            gc.enable()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ssl.SSLContext | None]:
    """A context of a server that clients trust, or None."""
    if not request.param:
        yield None
        return
    authority = Authority("ours", tmp_path / "ours.pem")
    files = authority.issue().write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    with trusting(authority.file):
        yield context


async def test_nothing_is_kept_of_a_body_at_its_timeout(tls: ssl.SSLContext | None) -> None:
    async with RawOrigin(answers_unread(), tls=tls) as server, client_of() as client:
        assert await called(client, server.url, LONG) == "timeout"
        await until(lambda: held() == (0, 0), within_s=1.0)  # TLS itself gives up after 30 s


async def test_a_connection_with_the_end_of_an_unread_body_is_not_used_again(
    tls: ssl.SSLContext | None,
) -> None:
    goes_on = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.read(len(SHORT))
        transport: Any = wire._writer.transport
        if tls is not None:  # which takes more than is read from it
            transport = transport._ssl_protocol._transport
        transport.pause_reading()
        await wire.send(answer(b"fine"))
        await goes_on.wait()
        await answers_unread(answer(b"fine"))(wire)

    async with RawOrigin(play, tls=tls) as server, client_of() as client:
        assert server._socket is not None
        narrow(server._socket, socket.SO_RCVBUF)
        assert await called(client, server.url, SHORT) == "200 fine"
        (connection,) = client._connections
        assert connection.transport is not None
        narrow(connection.transport.get_extra_info("socket"), socket.SO_SNDBUF)
        # More than the system takes now, and not so much that its sender waits.
        task = asyncio.create_task(called(client, server.url, bytes(64 << 10)))
        await until(lambda: held()[0] == 1)
        goes_on.set()
        assert await task == "200 fine"
        await until(lambda: held() == (0, 0))
        assert connection not in client._connections


def narrow(connection: socket.socket, buffer: int) -> None:
    """Let the system keep little of what is sent or received."""
    connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)


async def test_nothing_is_kept_of_a_body_whose_caller_gives_up() -> None:
    async with RawOrigin(answers_unread()) as server, client_of() as client:
        task = asyncio.create_task(called(client, server.url, LONG))
        await until(lambda: held()[1] > len(LONG) / 2)
        assert held()[0] == 1
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: held() == (0, 0))


async def test_nothing_is_kept_of_a_body_behind_a_response_that_its_caller_closes() -> None:
    async with RawOrigin(answers_unread(BEGUN)) as server, client_of(Connector) as client:
        response = await client.open(OutboundRequest("POST", URL(server.url), {}, LONG), WAIT_S)
        assert await response.content.readany() == b"x"
        assert held()[0] == 1
        response.close()
        await until(lambda: held() == (0, 0))


async def test_a_body_that_the_system_has_taken_is_sent_and_its_connection_used_again() -> None:
    async def play(wire: Wire) -> None:
        await wire.read(len(SHORT))
        await wire.send(answer(b"fine"))

    async with RawOrigin(play) as server, client_of() as client:
        for _ in range(2):
            assert await called(client, server.url, SHORT) == "200 fine"
            assert held() == (0, 0)
        assert server.heard[1].connection == server.heard[0].connection


async def test_a_connection_has_a_slice_of_a_long_body_at_a_time() -> None:
    async with RawOrigin(answers_unread()) as server, client_of() as client:
        task = asyncio.create_task(called(client, server.url, LONG))
        await until(lambda: held()[0] == 1)
        await asyncio.sleep(WAIT_S / 2)
        assert client.unsent_bytes <= 4 * (64 << 10)
        await task
