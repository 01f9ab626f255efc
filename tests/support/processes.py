"""Real servers as child processes on free loopback ports, stopped when the test ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tests.support import forked_command as forked_command_module
from tests.support.forked import Forked, Forks, Redirection
from tests.support.given_settings import variables
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
HEADGATE = Path(sys.executable).with_name("headgate")
NODE = Path(sys.executable).with_name("node")  # as the development lock has it
START_TIMEOUT_S = 30.0
# Else a part of each start is for what no test needs: as it is imported, aiohttp reads the
# system's certificate authorities. And commands would find the servers of other tests, and the
# contexts of whoever runs them.
AT_ONCE = dict.fromkeys(("SSL_CERT_FILE", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"), os.devnull)
# A program to put before a command that is to be started anew: it changes nothing.
ANEW = ("env",)
# Variables that are read when a command runs, if at all; any other may be as it is imported.
READ_LATE = ("HEADGATE_", "STREAM_", "PYTEST_", "XDG_")
_OURS = {**os.environ, **AT_ONCE}

Process: TypeAlias = subprocess.Popen[bytes] | Forked


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] = _OURS,
    stdin: Redirection = None,
    stdout: Redirection = None,
    stderr: Redirection = None,
    folder: Path | None = None,
) -> Process:
    """Start a command; `headgate` is forked from a process that has imported everything.

    That costs a tenth of a start. It is started anew where its environment could change what is
    imported, and with any program before it, such as ANEW: a fork shares its memory with others.
    """
    words = [str(word) for word in command]
    if words[0] == str(HEADGATE) and _early(environment) == _early(_OURS):
        # Whoever watches what is started hears of this one as well.
        sys.audit("subprocess.Popen", words[0], words, folder, environment)
        return Forked(
            _forks(),
            words,
            environment=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            folder=folder,
        )
    return subprocess.Popen(
        words, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, cwd=folder
    )


def run(
    command: Sequence[str | Path],
    data: bytes = b"",
    *,
    environment: Mapping[str, str] = _OURS,
    stdout: Redirection = subprocess.PIPE,
    stderr: Redirection = subprocess.PIPE,
    timeout_s: float = 20.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, with this on its stdin. It is killed when the time is over."""
    process = start(
        command, environment=environment, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr
    )
    try:
        output, errors = process.communicate(data, timeout_s)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.wait(), output, errors)


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(READ_LATE)}


@contextlib.contextmanager
def forked_command() -> Iterator[tuple[Path, dict[str, str], int]]:
    """A folder for the PATH of a shell, with a `headgate` that is forked.

    The shell needs these variables, and to inherit this descriptor.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-test-") as folder:
        command = Path(folder, "headgate")
        code = Path(forked_command_module.__file__).read_text()
        command.write_text(f"#!{sys.executable} -IS\n{code}")
        command.chmod(0o700)
        server = _forks().descriptor
        variables = {
            forked_command_module.PROGRAM: str(HEADGATE),
            forked_command_module.SERVER: str(server),
        }
        yield Path(folder), variables, server


@cache
def _forks() -> Forks:
    return Forks(_OURS, ROOT)


def place_of(url: str) -> tuple[str, str]:
    """Return the flag for a URL of a storage or of an origin, and the URL."""
    return ("--origin" if url.startswith("http") else "--storage", url)


class Headgate:
    """One `headgate serve` process; `url` is the stream listener, `streams` the default route."""

    def __init__(
        self,
        origin: str = "memory:",
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        preface: Sequence[str] = (),
        program: Path = HEADGATE,
    ) -> None:
        self.port = port or free_port()
        self.admin_port = free_port()
        self.origin = origin
        self.arguments = [
            *preface,
            str(program),
            "serve",
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--admin", f"127.0.0.1:{self.admin_port}"),
            *place_of(origin),
            *arguments,
        ]
        self.environment = {**os.environ, **AT_ONCE, **(environment or {})}
        descriptor, path = tempfile.mkstemp(prefix="headgate-test-", suffix=".log")
        os.close(descriptor)
        self.log_file = Path(path)
        self.process: Process | None = None

    def serve_routes(self, *routes: Mapping[str, object]) -> None:
        """Have these instead of the one origin, which excludes them."""
        at = next(at for at, it in enumerate(self.arguments) if it in {"--storage", "--origin"})
        del self.arguments[at : at + 2]
        self.environment |= variables({"routes": routes})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> str:
        return f"{self.url}/v1/stream"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def start(self) -> Headgate:
        """Start and wait until `/readyz` answers 200; the log is in the error if it does not."""
        self.spawn()
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return self
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"headgate did not become ready:\n{self.output()}")

    def spawn(self) -> None:
        """Start, and wait for nothing."""
        with self.log_file.open("ab") as log:
            self.process = start(
                self.arguments, environment=self.environment, stdout=log, stderr=log, folder=ROOT
            )

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, then the exit status."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would be; safe to call twice."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def output(self) -> str:
        """Everything written to stdout and stderr so far."""
        return self.log_file.read_text(errors="replace")

    def close(self) -> None:
        """Kill, and remove the log."""
        self.kill()
        self.log_file.unlink(missing_ok=True)

    def resident_bytes(self) -> int:
        """Resident set size of the process, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def headgate(
    origin: str = "memory:",
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
    preface: Sequence[str] = (),
) -> Iterator[Headgate]:
    """A started Headgate that is killed when the block ends."""
    server = Headgate(
        origin, arguments=arguments, environment=environment, port=port, preface=preface
    )
    try:
        yield server.start()
    finally:
        server.close()
