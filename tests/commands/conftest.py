"""A real Headgate, and the real command line run against it."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import Answer, ask
from tests.support.processes import AT_ONCE, HEADGATE, headgate, run, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.forked import Redirection
    from tests.support.processes import Headgate, Process

DEADLINE_S = 20.0
TOKEN = "Bearer hush-hush"
# Arguments of openssl for a certificate of 127.0.0.1 in tls.pem, and its key in tls.key.
CERTIFICATE = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
    *("-keyout", "tls.key", "-out", "tls.pem"),
)


class CommandLine:
    """Runs `headgate COMMAND`. A traceback, or the token in the output, fails the test."""

    def __init__(self, streams: str) -> None:
        ours = ("HEADGATE_", "STREAM_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = {
            **inherited,
            **AT_ONCE,
            "STREAM_URL": streams,
            "STREAM_AUTH": TOKEN,
        }
        self.program = str(HEADGATE)
        self.started: list[Process] = []

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end."""
        done = run(
            [self.program, *arguments],
            stdin,
            environment={**self.environment, **(environment or {})},
            timeout_s=DEADLINE_S,
        )
        for output in (done.stdout, done.stderr):
            assert b"Traceback" not in output, output.decode()
            assert TOKEN.encode() not in output
        return done

    def output(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What a command that succeeds prints on stdout."""
        done = self(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def start(
        self,
        *arguments: str,
        stdin: Redirection = None,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Run on; killed at the end of the test if need be."""
        process = start(
            [self.program, *arguments],
            environment={**self.environment, **(environment or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """End what is still running."""
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


class Stream:
    """A new stream, looked at and written to past the command line."""

    def __init__(self, server: Headgate, content_type: str) -> None:
        self.name = f"test-{time.monotonic_ns()}"
        self.url = f"{server.streams}/{self.name}"
        self.content_type = content_type
        self._port = server.port
        self._ask("PUT", {"Content-Type": content_type})

    def append(self, data: bytes, *, close: bool = False) -> None:
        """One append."""
        headers = {"Content-Type": self.content_type}
        self._ask("POST", headers | {"Stream-Closed": "true"} if close else headers, data)

    def delete(self) -> None:
        """The end of it."""
        self._ask("DELETE")

    @property
    def data(self) -> bytes:
        """Everything in a stream that is read in one answer."""
        return self._ask("GET").body

    @property
    def offset(self) -> str:
        """Its tail."""
        return self._ask("HEAD").next_offset

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more appends."""
        return self._ask("HEAD").get("Stream-Closed") == "true"

    def wait_for(self, data: bytes) -> None:
        """Until this is everything in it."""
        wait_until(lambda: self.data == data, f"{data!r}", lambda: f"there is {self.data!r}")

    def _ask(
        self, method: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        # no-cache: an answer from the server's cache need not tell of the last append.
        asked = {"Cache-Control": "no-cache", **(headers or {})}
        answer = ask(self._port, method, f"/v1/stream/{self.name}", body, **asked)
        assert answer.status < 300, answer
        return answer


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    """A Headgate in memory, with long-polls of one second."""
    with headgate(environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "1"}) as server:
        yield server


@pytest.fixture
def cli(server: Headgate) -> Iterator[CommandLine]:
    """The command line, with the server's streams below STREAM_URL."""
    command_line = CommandLine(server.streams)
    yield command_line
    command_line.kill()


@pytest.fixture
def text(server: Headgate) -> Stream:
    """A new, empty text stream."""
    return Stream(server, "text/plain")


@pytest.fixture
def messages(server: Headgate) -> Stream:
    """A new, empty JSON stream."""
    return Stream(server, "application/json")


@pytest.fixture
def octets(server: Headgate) -> Stream:
    """A new, empty stream of bytes."""
    return Stream(server, "application/octet-stream")
