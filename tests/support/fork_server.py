"""A process that starts `headgate` by a fork: what it imports, each child has imported already.

`python -m tests.support.fork_server FD` serves the socket of that number; `tests.support.forked`
asks it. It ends when nobody holds the other end of the socket any more, and its children with it.
A server of several workers starts them from one of its own (`tests.support.forked_workers`).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
from typing import NamedTuple

# What the commands and the kinds of origins import, also as late as when they are used.
PRELOADED = (
    "headgate_admin.app",
    "headgate_admin.pages.site",
    "headgate_admin.api.openapi",
    "headgate_gateway.process.serve",
    "headgate_gateway.workers.supervisor",
    "headgate_gateway.workers.worker",
    "headgate_gateway.logs.redis.log",
    "headgate_gateway.logs.sqlite.log",
    "headgate_gateway.commands.running",
    "headgate_gateway.commands.stream.append",
    "headgate_gateway.commands.cdn",
    "headgate_gateway.commands.doctor",
    "headgate_gateway.commands.doctor.health",
    "headgate_gateway.commands.token",
    "headgate_doctor.report",
    "headgate.following",
    "headgate_gateway.tools.redis_doctor.report",
    "headgate_gateway.monitoring.files",
    "encodings.idna",
)
STREAMS = 3  # stdin, stdout and stderr
MOST_DESCRIPTORS = 16
LONGEST_REQUEST = 1 << 20
NUMBER = struct.Struct("i")
PR_SET_PDEATHSIG = 1


class Request(NamedTuple):
    """A command to run; `report` is told the pid, and the exit status as `subprocess` has it.

    The new process gets `descriptors` under the numbers of `numbers`, the first three of which are
    its streams.
    """

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    numbers: list[int]
    descriptors: list[int]
    report: int

    @classmethod
    def receive(cls, requests: socket.socket) -> Request | None:
        """None when there will be no other one."""
        message, received, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, MOST_DESCRIPTORS)
        if not message:
            return None
        *descriptors, report = received
        return cls(**json.loads(message), descriptors=descriptors, report=report)

    def become(self) -> None:
        """Make this process what a new one would be."""
        for number, descriptor in zip(self.numbers, self._above_numbers(), strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[:] = self.arguments
        sys.path[0] = os.path.dirname(self.arguments[0])  # noqa: PTH120 - as Python does it
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _above_numbers(self) -> list[int]:
        """Move the descriptors away from the numbers that others of them are to get."""
        lowest = max(self.numbers) + 1
        moved = [fcntl.fcntl(it, fcntl.F_DUPFD_CLOEXEC, lowest) for it in self.descriptors]
        for descriptor in self.descriptors:
            os.close(descriptor)
        return moved


class Child(NamedTuple):
    """A running command, and where its end is told."""

    pid: int
    report: int


class ForkServer:
    """It has one thread and no event loop: neither lives on in a child."""

    def __init__(self, requests: socket.socket, *, children_die: bool = True) -> None:
        """Kill the children when this process ends, unless they see to that themselves."""
        self._requests = requests
        self._children_die = children_die
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Return in each child, with its request; in the server when nobody asks any more."""
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.data, Child):
                    self._report(key.fd, key.data)
                    continue
                request = Request.receive(self._requests)
                if request is None or self._forked(request):
                    return request

    def _forked(self, request: Request) -> bool:
        """Whether this is the child."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._close()
            os.close(request.report)
            if self._children_die:
                die_with(server)
            return True
        for descriptor in request.descriptors:
            os.close(descriptor)
        child = Child(pid, request.report)
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, child)
        os.write(child.report, NUMBER.pack(pid))
        return False

    def _report(self, pidfd: int, child: Child) -> None:
        """A child has ended."""
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(child.pid, 0)
        with contextlib.suppress(BrokenPipeError):  # when nobody waits for it
            os.write(child.report, NUMBER.pack(os.waitstatus_to_exitcode(status)))
        os.close(child.report)

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Child):
                os.close(key.fd)
                os.close(key.data.report)
        self._selector.close()
        self._requests.close()


def die_with(parent: int) -> None:
    """Also when the parent is killed: nothing else would end the children then."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve; in a child, run the command as the installed script does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    server = ForkServer(socket.socket(fileno=int(sys.argv[1])))
    program = importlib.import_module("headgate_gateway.__main__")
    forked_workers = importlib.import_module("tests.support.forked_workers")
    for name in PRELOADED:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    # Else the first search for garbage in a child would copy all that it shares.
    gc.collect()
    gc.freeze()
    request = server.serve()
    if request is None:
        return
    request.become()
    if forked_workers.is_asked_for(request):
        forked_workers.fork_workers()
    try:
        sys.exit(program.main())
    except SystemExit as end:
        if "serve" in request.arguments or not isinstance(end.code, int):
            raise
        _end_at_once(end.code)


def _end_at_once(status: int) -> None:
    """End as the forks of `multiprocessing` do, without taking every module apart.

    That would copy the page of each object that is shared, for three times as long as most commands
    take. Servers end the long way: they have threads and files to end with.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
