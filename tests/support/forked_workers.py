"""The workers of a forked server, forked as well: to start one costs half a second of a core."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.shielding import shielded
from tests.support.fork_server import ForkServer, die_with
from tests.support.forked import Forked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.fork_server import Request


def is_asked_for(request: Request) -> bool:
    """Return whether a command is a server of several workers."""
    named = any(word.startswith("--workers") for word in request.arguments)
    return "serve" in request.arguments and (named or "HEADGATE_WORKERS" in request.environment)


def number_of(pid: int) -> int | None:
    """Return which worker a process is, if it is one, forked or not."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if b"headgate_gateway.workers" in words:
        return int(words[-2])
    name, _, number = Path(f"/proc/{pid}/comm").read_text().rstrip().partition(" ")
    return int(number) if name == "worker" else None


def fork_workers() -> None:
    """Have `headgate_gateway.workers` started by a fork of this process, as it is now.

    That process ends with this one. Its children do not: they notice by themselves that their
    supervisor is gone, which tests are about.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = os.getpid()
    if os.fork() == 0:
        ours.close()
        die_with(supervisor)
        _serve(theirs)
    theirs.close()
    _Workers(ours).replace_start()


def _serve(requests: socket.socket) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # the keys of a terminal are for the supervisor
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # else a pipe would not end with the server that has it
        os.dup2(null, stream)
    os.close(null)
    request = ForkServer(requests, children_die=False).serve()
    if request is None:
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    request.become()
    os.setsid()
    # As its command line is that of the first fork server.
    Path("/proc/self/comm").write_text(f"worker {request.arguments[-1]}")
    from headgate_gateway.workers import worker

    worker.main()


class _Workers:
    """What a supervisor starts its workers with."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._start = asyncio.create_subprocess_exec

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._requests, [request], descriptors)

    def replace_start(self) -> None:
        """Take the place of `asyncio.create_subprocess_exec` in this process."""
        asyncio.create_subprocess_exec = self.start  # type: ignore[assignment]

    async def start(self, *command: str, **options: Any) -> Any:
        if "headgate_gateway.workers" not in command:
            return await self._start(*command, **options)
        return Worker(self, command, **options)


class Worker:
    """A forked worker in the shape of `asyncio.subprocess.Process`."""

    def __init__(
        self,
        workers: _Workers,
        command: Sequence[str],
        *,
        stdin: int,
        pass_fds: Sequence[int],
        start_new_session: bool,
        env: Mapping[str, str],
    ) -> None:
        assert start_new_session
        self._process = Forked(workers, command[-2:], environment=env, stdin=stdin, kept=pass_fds)
        self.pid = self._process.pid
        self.returncode: int | None = None
        loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = loop.create_future()
        loop.add_reader(self._process.report, self._on_end)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.report)
        self.returncode = self._process.wait()
        self._status.set_result(self.returncode)

    async def wait(self) -> int:
        return await shielded(self._status)

    def kill(self) -> None:
        self._process.kill()
