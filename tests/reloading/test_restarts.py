"""Restarts while the service manager holds the listening socket: nobody is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.reloading.under_restarts import STREAM, Service, append_during_restarts
from tests.support.examples import cases
from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import HEADGATE
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.parametrize("restarts", cases([2, 20], {2}, "two restarts"))
async def test_restarts_refuse_no_connection_and_lose_no_append(
    tmp_path: Path, restarts: int
) -> None:
    await append_during_restarts(tmp_path / "log", restarts)


def test_a_socket_for_another_address_is_refused_with_a_sentence(tmp_path: Path) -> None:
    at = Service(tmp_path / "log")
    try:
        process = at.start("--listen", f"127.0.0.1:{free_port()}")
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 2
        assert b"the service manager passes a socket for 127.0.0.1:" in errors
    finally:
        at.close()


SEVERAL = ("--origin", "http://127.0.0.1:9", "--workers", "2")


@contextlib.contextmanager
def several(folder: Path) -> Iterator[Service]:
    """A server of two workers that share the socket; its page at / needs no origin."""
    made = Service(folder, SEVERAL)
    try:
        made.start()
        wait_until(made.has_all_workers, "all workers serve")
        yield made
    finally:
        made.close()


async def served(port: int, count: int) -> list[Client]:
    """Return so many new connections, each of which has had an answer."""
    clients = [await Client.connect(port) for _ in range(count)]
    for client in clients:
        assert (await client.ask(request("GET", "/"))).status == 200
    return clients


async def test_each_of_several_workers_accepts_from_the_socket_that_was_passed(
    tmp_path: Path,
) -> None:
    with several(tmp_path) as at:
        for stopped in at.workers():
            os.kill(stopped, signal.SIGSTOP)  # the other one has to take all
            try:
                clients = await served(at.port, 10)
                assert sorted(at.connections()) == [0, 10]
            finally:
                os.kill(stopped, signal.SIGCONT)
            for client in clients:
                client.close()
            await asyncio.to_thread(wait_until, lambda: not any(at.connections()), "all are closed")


async def test_a_restart_of_several_workers_refuses_no_connection(tmp_path: Path) -> None:
    with several(tmp_path) as at:
        is_over = asyncio.Event()

        async def read() -> None:
            """Request on a new connection each time, which raises if it is refused."""
            while not is_over.is_set():
                for client in await served(at.port, 1):
                    client.close()

        reading = asyncio.create_task(read())
        await asyncio.to_thread(at.restart)
        await asyncio.to_thread(wait_until, at.has_all_workers, "all workers serve again")
        is_over.set()
        await reading


async def test_a_worker_that_replaces_another_one_accepts_from_the_same_socket(
    tmp_path: Path,
) -> None:
    with several(tmp_path) as at:
        former = at.workers()
        os.kill(former[0], signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: former[0] not in at.workers(), "it has ended")
        await asyncio.to_thread(wait_until, at.has_all_workers, "it is replaced")
        os.kill(former[1], signal.SIGSTOP)  # so that the new one has to take all
        try:
            for client in await served(at.port, 10):
                client.close()
        finally:
            os.kill(former[1], signal.SIGCONT)


def test_the_first_connection_to_a_socket_of_systemd_is_served(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    activate = shutil.which("systemd-socket-activate")
    assert activate is not None, "the tests install it"
    process = subprocess.Popen(
        [
            *(activate, "-l", f"127.0.0.1:{port}", "-E", "SSL_CERT_FILE=/dev/null"),
            *(str(HEADGATE), "serve", "--listen", f"127.0.0.1:{port}"),
            *("--admin", f"127.0.0.1:{admin}", "--storage", f"file:{tmp_path / 'log'}"),
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
