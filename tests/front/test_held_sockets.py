"""The front on sockets that the service manager holds open: connections wait over a restart."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.front.fronted import HERE, HOST, Fronted
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

# Does what systemd does: gives the sockets the numbers from 3 on, and names them.
PASSES_SOCKETS = (
    "import os, sys\n"
    "moved = [os.dup(int(number)) + 100 for number in sys.argv[1:3]]\n"
    "[os.dup2(now - 100, now) for now in moved]\n"
    "[os.dup2(now, 3 + index, inheritable=True) for index, now in enumerate(moved)]\n"
    "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '2'}\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_connections_to_held_sockets_wait_while_the_front_is_started_again(
    workers: int, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        origin = "memory:" if workers == 1 else opened.enter_context(headgate()).url
        tcp = opened.enter_context(socket.create_server((HERE, 0)))
        udp = opened.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.bind(tcp.getsockname())
        server = Fronted(
            tmp_path,
            origin=origin,
            arguments=["--workers", str(workers)],
            front_port=tcp.getsockname()[1],
        )
        opened.callback(server.close)
        held = (tcp.fileno(), udp.fileno())

        def start() -> subprocess.Popen[bytes]:
            passing = [sys.executable, "-c", PASSES_SOCKETS, *map(str, held)]
            command = [*passing, *server.arguments[1:]]  # without the word that has it started anew
            process = subprocess.Popen(command, env=server.environment, pass_fds=held)
            opened.callback(process.wait)
            opened.callback(process.kill)
            return process

        first = start()
        wait_until(lambda: server.put("held", "hello").status == 201, "it serves")
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        with socket.create_connection((HERE, server.front_port), 20) as early:
            start()
            early.settimeout(20)
            ssl._create_unverified_context().wrap_socket(early, server_hostname=HOST).close()
        wait_until(lambda: server.put("again", "hello").status == 201, "it serves again")
