"""Restarts while the service manager holds the listening socket: nobody is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import cases
from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Does what systemd does: gives the socket the number 3, and names it to the process that follows.
PASSES_SOCKET = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
    "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
LONGEST_PAUSE_S = 3.0  # of a hand-over, as docs/operating.md says
STREAM = "/v1/stream/s"


class Service:
    """A server that is started again and again with the same listening socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.socket.getsockname()[1]
        self.admin = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a process that serves, or refuses to."""
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", PASSES_SOCKET, str(self.socket.fileno()), str(HEADGATE)),
                *("serve", "--listen", f"127.0.0.1:{self.port}"),
                *("--admin", f"127.0.0.1:{self.admin}", "--origin", f"file:{self._folder}"),
                *options,
            ],
            env={**os.environ, **AT_ONCE},
            pass_fds=(self.socket.fileno(),),
            stderr=subprocess.PIPE,
        )
        return self.process

    def is_ready(self) -> bool:
        """Whether the process serves."""
        with contextlib.suppress(OSError):
            return ask(self.admin, "GET", "/readyz").status == 200
        return False

    def restart(self) -> None:
        """Stop the process, as systemd does, and start the next one once it has ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors
        self.start()

    def close(self) -> None:
        """End the process and the socket."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
        self.socket.close()


@contextlib.contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A server that has started once."""
    made = Service(folder)
    try:
        made.start()
        wait_until(made.is_ready, "it serves")
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("restarts", cases([2, 20], {2}, "two restarts"))
async def test_restarts_refuse_no_connection_and_lose_no_append(
    tmp_path: Path, restarts: int
) -> None:
    with service(tmp_path / "log") as at:
        assert ask(at.port, "PUT", STREAM, b"", content_type="text/plain").status == 201
        waits: list[float] = []
        is_over = asyncio.Event()

        async def append() -> int:
            """Append on a new connection each time; return how often."""
            count = 0
            loop = asyncio.get_running_loop()
            while not is_over.is_set():
                began = loop.time()
                client = await Client.connect(at.port)  # raises if it is refused
                body = f"{count};".encode()
                answer = await client.ask(request("POST", STREAM, body, content_type="text/plain"))
                client.close()
                assert answer.status == 204
                waits.append(loop.time() - began)
                count += 1
            return count

        appending = asyncio.create_task(append())
        for _ in range(restarts):
            await asyncio.to_thread(at.restart)
            await asyncio.to_thread(wait_until, at.is_ready, "it serves again")
        is_over.set()
        count = await appending
        assert ask(at.port, "GET", f"{STREAM}?offset=-1").body.decode() == "".join(
            f"{number};" for number in range(count)
        )
        assert max(waits) < LONGEST_PAUSE_S
        sys.stdout.write(f"longest pause: {max(waits):.2f} s of {count} appends\n")


def test_a_socket_for_another_address_is_refused_with_a_sentence(tmp_path: Path) -> None:
    at = Service(tmp_path / "log")
    try:
        process = at.start("--listen", f"127.0.0.1:{free_port()}")
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 2
        assert b"the service manager passes a socket for 127.0.0.1:" in errors
    finally:
        at.close()


def test_a_socket_is_refused_with_several_workers(tmp_path: Path) -> None:
    at = Service(tmp_path / "log")
    try:
        process = at.start("--origin", "http://127.0.0.1:9", "--workers", "2")
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 2
        assert b"workers = 1" in errors
    finally:
        at.close()


def test_the_first_connection_to_a_socket_of_systemd_is_served(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    activate = shutil.which("systemd-socket-activate")
    assert activate is not None, "the tests install it"
    process = subprocess.Popen(
        [
            *(activate, "-l", f"127.0.0.1:{port}", "-E", "SSL_CERT_FILE=/dev/null"),
            *(str(HEADGATE), "serve", "--listen", f"127.0.0.1:{port}"),
            *("--admin", f"127.0.0.1:{admin}", "--origin", f"file:{tmp_path / 'log'}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _accepts(port), "systemd listens")
        assert ask(port, "PUT", STREAM, b"", content_type="text/plain").status == 201
        assert json.loads(ask(admin, "GET", "/readyz").body)["status"] == "ready"
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    """Whether a process listens there, by the table of the kernel: to connect starts the server."""
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - of the kernel
        return any(f":{port:04X} 00000000:0000 0A" in line for line in table)
