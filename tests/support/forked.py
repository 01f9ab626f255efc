"""Commands that a fork server starts, in the shape of `subprocess.Popen`."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias

from tests.support.fork_server import NUMBER, STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Redirection: TypeAlias = int | IO[bytes] | None
"""What a command reads or writes: a descriptor, a file, PIPE, or None for this process's own."""


class Asked(Protocol):
    """A fork server, or the way to one."""

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        """Have a command started."""


class Forks:
    """A fork server of this process; it ends, and its children with it, when this process does."""

    def __init__(self, environment: Mapping[str, str], root: Path) -> None:
        """The environment is what modules see as they are imported; the tests are in `root`."""
        # Each message is one request.
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(number)],
                pass_fds=[number],
                env=environment,
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.pid = self._process.pid
        atexit.register(self.close)

    @property
    def descriptor(self) -> int:
        """The socket on which commands are asked for."""
        return self._requests.fileno()

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        """Have a command started."""
        socket.send_fds(self._requests, [request], descriptors)

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait()


class Forked:
    """A command that was started so, which is no child of this process."""

    def __init__(
        self,
        forks: Asked,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: Redirection = None,
        stdout: Redirection = None,
        stderr: Redirection = None,
        folder: Path | None = None,
        kept: Sequence[int] = (),
    ) -> None:
        """Start a command, which gets the descriptors in `kept` under the same numbers."""
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
            "numbers": [*range(STREAMS), *kept],
        }
        self.args = arguments
        self.returncode: int | None = None
        self._lock = Lock()
        self.report, report = os.pipe()
        # Not sooner: another thread may wait for the end.
        weakref.finalize(self, os.close, self.report)
        with contextlib.ExitStack() as theirs:
            theirs.callback(os.close, report)
            self.stdin, *given = _pipe(stdin, 0, theirs)
            self.stdout, *given[1:] = _pipe(stdout, 1, theirs)
            self.stderr, *given[2:] = _pipe(stderr, 2, theirs)
            forks.ask(json.dumps(request).encode(), [*given, *kept, report])
        self.pid = self._told()

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired after so many seconds without."""
        told = select.poll()
        told.register(self.report, select.POLLIN)
        if not told.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        with self._lock:
            if self.returncode is None:
                self.returncode = self._told()
            return self.returncode

    def communicate(
        self, data: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        """Give it this, and all that it writes into pipes. It is killed when the time is over."""
        with ThreadPoolExecutor(3) as pool:
            said = pool.submit(_read, self.stdout), pool.submit(_read, self.stderr)
            pool.submit(_write, self.stdin, data or b"")
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return said[0].result(), said[1].result()

    def send_signal(self, number: int) -> None:
        """Nothing is sent to a command that has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _told(self) -> int:
        """First the pid, then the exit status."""
        number = os.read(self.report, NUMBER.size)
        if not number:
            raise RuntimeError("the fork server has ended, and what it had started with it")
        return int(NUMBER.unpack(number)[0])


def _read(pipe: IO[bytes] | None) -> bytes:
    if pipe is None:
        return b""
    with pipe:
        return pipe.read()


def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError), pipe:  # a command need not read everything
            pipe.write(data)


def _pipe(
    stream: Redirection, number: int, theirs: contextlib.ExitStack
) -> tuple[IO[bytes] | None, int]:
    """Our end of a pipe, if it is one, and what the command gets; closed here when it has it."""
    if stream is None:
        return None, number
    if not isinstance(stream, int):
        return None, stream.fileno()
    if stream == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, null)
        return None, null
    if stream != subprocess.PIPE:
        return None, stream
    reading, writing = os.pipe()
    ours, given = (writing, reading) if number == 0 else (reading, writing)
    theirs.callback(os.close, given)
    return os.fdopen(ours, "wb" if number == 0 else "rb"), given
