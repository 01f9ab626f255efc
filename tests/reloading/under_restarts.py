"""A server that is restarted with the same listening socket while a client appends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE
from tests.support.waiting import wait_until
from tests.workers.several import serves

if TYPE_CHECKING:
    from collections.abc import Iterator

# Does what systemd does: gives the socket the number 3, and names it to the process that follows.
PASSES_SOCKET = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
    "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
STREAM = "/v1/stream/s"


class Appends(NamedTuple):
    """How many appends were acknowledged, and how long the longest one took (seconds)."""

    acknowledged: int
    longest_s: float


class Service:
    """A server that is started again and again with the same listening socket."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._options = options  # of each start
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.socket.getsockname()[1]
        self.admin = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a process that serves, or refuses to."""
        stored = () if "--origin" in self._options else ("--storage", f"file:{self._folder}")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", PASSES_SOCKET, str(self.socket.fileno()), str(HEADGATE)),
                *("serve", "--listen", f"127.0.0.1:{self.port}"),
                *("--admin", f"127.0.0.1:{self.admin}", *stored),
                *(*self._options, *options),
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

    def workers(self) -> list[int]:
        """The pids of the workers."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [*map(int, children.split())]

    def has_all_workers(self) -> bool:
        """Whether every worker serves."""
        with contextlib.suppress(OSError):
            checks = ask(self.admin, "GET", "/readyz").json()["checks"]
            found = [why for name, why in checks.items() if name.startswith("worker ")]
            return list(map(serves, found)) == [True, True]
        return False

    def connections(self) -> list[int]:
        """The number of connections that each worker has accepted."""
        return [len(self._accepted() & _sockets_of(pid)) for pid in self.workers()]

    def _accepted(self) -> set[str]:
        """The inodes of established connections at the port, by the table of the kernel."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        here = f":{self.port:04X}"
        return {row[9] for row in rows if row[1].endswith(here) and row[3] == "01"}

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


async def append_during_restarts(folder: Path, restarts: int) -> Appends:
    """Append on a new connection each time while the server is restarted.

    Raises OSError for a connection that is refused, and AssertionError for a lost append.
    """
    with service(folder) as at:
        assert ask(at.port, "PUT", STREAM, b"", content_type="text/plain").status == 201
        is_over = asyncio.Event()
        appending = asyncio.create_task(_append(at.port, is_over))
        for _ in range(restarts):
            await asyncio.to_thread(at.restart)
            await asyncio.to_thread(wait_until, at.is_ready, "it serves again")
        is_over.set()
        appends = await appending
        body = ask(at.port, "GET", f"{STREAM}?offset=-1").body.decode()
        assert body == "".join(f"{number};" for number in range(appends.acknowledged))
        return appends


async def _append(port: int, is_over: asyncio.Event) -> Appends:
    count, longest_s = 0, 0.0
    loop = asyncio.get_running_loop()
    while not is_over.is_set():
        began = loop.time()
        client = await Client.connect(port)  # raises if it is refused
        body = f"{count};".encode()
        answer = await client.ask(request("POST", STREAM, body, content_type="text/plain"))
        client.close()
        assert answer.status == 204
        longest_s = max(longest_s, loop.time() - began)
        count += 1
    return Appends(count, longest_s)


def _sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    return {one.removeprefix("socket:[").removesuffix("]") for one in links}
