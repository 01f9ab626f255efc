"""The shares of a process's open files: what readers who wait leave to all others."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.open_files import (
    GUARANTEED,
    LEAST_ADMIN,
    MOST_ADMIN,
    OWN,
    FileShares,
    NoFileLeft,
    SharedFiles,
    admin_connections,
)
from headgate_gateway.runtime.limits import Bounds, ServerLimits
from tests.models.serving import OPENAI, models
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.listener import Listener
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FEW = 400
MOST_S = 1.0  # of a health check, an append or a page of the console, whatever others wait for
ATTEMPTS = 3


SHARES = {
    128: FileShares(56, 4, 52, 28, 28),
    FEW: FileShares(311, 25, 286, 220, 220),
    1024: FileShares(896, 32, 864, 784, 784),
    22_400: FileShares(22_080, 32, 20_160, 20_080, 21_968),
}


@pytest.mark.parametrize("open_files", SHARES)
def test_shares_of_few_and_of_many_files(open_files: int) -> None:
    found = FileShares.of(open_files)
    assert found == SHARES[open_files]
    assert OWN + admin_connections(open_files) + found.room <= open_files
    assert found.clients + found.for_servers <= found.room
    assert FileShares.of(resource.RLIM_INFINITY).clients > 1_000_000


def fill(files: SharedFiles, destinations: int) -> list[int]:
    """Let readers wait for destinations as long as they get connections; return each one's."""
    connections = [0] * destinations
    while True:
        before = list(connections)
        for at in range(destinations):
            files.clients += 1
            with contextlib.suppress(NoFileLeft):
                files.check_server(connections[at])
                files.servers += 1
                connections[at] += 1
                continue
            files.clients -= 1  # the reader is refused, and leaves
        if connections == before:
            return connections


@pytest.mark.parametrize("open_files", [FEW, 1024, 22_400])
@pytest.mark.parametrize("destinations", [1, 2, 8])
def test_destinations_that_hang_leave_files_for_others_and_connections_for_clients(
    open_files: int, destinations: int
) -> None:
    files, shares = SharedFiles(open_files), FileShares.of(open_files)
    connections = fill(files, destinations)
    assert min(connections) >= GUARANTEED
    assert files.refused > 0
    for others in range(GUARANTEED):
        files.check_server(others)
        files.servers += 1
    assert files.clients + 1 <= shares.clients
    assert not files.takes_no_client


def test_clients_leave_the_files_that_are_guaranteed_to_servers() -> None:
    files, shares = SharedFiles(FEW), FileShares.of(FEW)
    bounds = Bounds(shares.clients, shares.clients, shares.readers, 9, 9, 9)
    limits = ServerLimits(bounds, files)
    for number in range(shares.clients):
        assert limits.connection_made(f"192.0.2.{number % 250}") is None
    files.check_server(GUARANTEED - 1)
    with pytest.raises(NoFileLeft):
        files.check_server(GUARANTEED)
    files.servers = 1
    limits.connection_lost("192.0.2.0")
    assert limits.connection_made("192.0.2.0") is not None
    assert limits.is_crowded


def test_readers_who_wait_leave_connections_to_those_who_do_not() -> None:
    for open_files in (FEW, 1024, 22_400):
        shares = FileShares.of(open_files)
        assert shares.clients - shares.readers >= 16


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """Serve an HTTP server that takes requests and never answers, and yield its URL."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with Listener(play) as server:
        yield f"http://127.0.0.1:{server.port}"


@contextlib.contextmanager
def readers(port: int, targets: list[str]) -> Iterator[list[socket.socket]]:
    """Send these reads from two addresses, each on a connection of its own."""
    with contextlib.ExitStack() as opened:
        sockets = []
        for number, target in enumerate(targets):
            one = socket.socket()
            opened.callback(one.close)
            one.bind((f"127.0.0.{2 + number % 2}", 0))
            one.connect(("127.0.0.1", port))
            head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            with contextlib.suppress(ConnectionError):  # it was refused already
                one.sendall(head.encode())
            sockets.append(one)
        yield sockets


def seconds_of_answers(server: Headgate, own: str, token: str) -> dict[str, float]:
    """Return how long each of these takes to be answered; none is refused."""
    requests = [
        (server.port, "GET", "/healthz", None),
        (server.admin_port, "GET", "/healthz", None),
        (server.admin_port, "GET", "/metrics", None),
        (server.admin_port, "GET", "/", None),
        (server.port, "PUT", f"{own}/{token}", b"one"),
        (server.port, "POST", f"{own}/{token}", b"two"),
        (server.port, "GET", f"{own}/{token}?offset=-1", None),
    ]
    took = {}
    for port, method, path, body in requests:
        began = time.monotonic()
        answer = ask(port, method, path, body, content_type="text/plain")
        name = f"{method} {'admin' * (port == server.admin_port)}{path.replace(token, '')}"
        took[name] = time.monotonic() - began
        assert answer.status < 400, (method, path, answer.body)
    return took


WAITS = {
    "reads of an origin that hangs": "/edge/{number}?offset=-1",
    "reads of two origins that hang": "/edge{half}/{number}?offset=-1",
    "calls of a provider that hangs": f"{OPENAI}/v1/models/{{number}}",
    "long-polls of one stream": "/v1/stream/s?offset=now&live=long-poll",
    "SSE readers of one stream": "/v1/stream/s?offset=now&live=sse",
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("target", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("open_files", [FEW, 1024])
async def test_all_others_are_answered_while_more_reads_wait_than_there_are_files(
    target: str, open_files: int
) -> None:
    waiting = 360 if open_files == FEW else 1000
    async with hanging() as origin:
        routes = [
            {"prefix": "/v1/stream", "storage": "memory:"},
            {"prefix": "/edge", "origin": origin},
            {"prefix": "/edge0", "origin": origin},
            {"prefix": "/edge1", "origin": origin},
        ]
        provider = type("Hanging", (), {"url": origin})()
        table = models(provider, {"max_answers": 5000, "max_client_answers": 5000})
        limit = ("sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh")
        server = Headgate(preface=limit, environment=variables({"models": table}))
        server.serve_routes(*routes)
        try:
            await asyncio.to_thread(server.start)
            created = await asyncio.to_thread(
                ask, server.port, "PUT", "/v1/stream/s", b"one", content_type="text/plain"
            )
            assert created.status == 201
            await asyncio.to_thread(ask, server.admin_port, "GET", "/")  # imports the console
            targets = [target.format(number=it, half=it // 2 % 2) for it in range(waiting)]
            with readers(server.port, targets):
                took = [
                    await asyncio.to_thread(seconds_of_answers, server, "/v1/stream", f"t{attempt}")
                    for attempt in range(ATTEMPTS)
                ]
                # On a busy machine one may take longer; what waits for files does so every time.
                for name in took[0]:
                    assert min(each[name] for each in took) < MOST_S, (name, took)
                open_now = int(figure(server, "process_open_fds"))
                assert open_now <= open_files - 16
            await until(lambda: figure(server, "headgate_server_connections") <= 8)
        finally:
            await asyncio.to_thread(server.close)


def figure(server: Headgate, name: str) -> float:
    lines = ask(server.admin_port, "GET", "/metrics").body.decode().splitlines()
    return sum(float(it.rpartition(" ")[2]) for it in lines if it.startswith(f"{name} "))


def test_the_share_of_the_admin_listener_is_small() -> None:
    assert admin_connections(40) == LEAST_ADMIN
    assert admin_connections(1 << 20) == MOST_ADMIN
