"""How log lines reach whoever reads them, and what happens where nobody does."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.telemetry import log_output
from headgate_gateway.telemetry.log_output import AT_ONCE, LogOutput
from tests.support.http1 import ask
from tests.support.processes import Headgate, start
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Process

# With room for a few lines, so that it is full at once.
ROOM = 4096


class Channel:
    """A pipe or a socket: `inlet` takes what is written, which is read by `read`."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self.inlet = inlet
        self._outlet = outlet
        os.set_blocking(outlet, False)

    def fill(self) -> None:
        """Write until it takes no more."""
        os.set_blocking(self.inlet, False)
        size = AT_ONCE
        while size:
            try:
                os.write(self.inlet, b"\n" * size)
            except BlockingIOError:
                size //= 2
        os.set_blocking(self.inlet, True)

    def read(self) -> bytes:
        """Return all that has been written."""
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(self._outlet, 1 << 20)
            except BlockingIOError:
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)

    def lines(self) -> list[str]:
        """Return the lines that have been written, without empty ones."""
        return self.read().decode().split()

    def end_reading(self) -> None:
        """Close the end that is read."""
        os.close(self._outlet)
        self._outlet = -1

    def close(self) -> None:
        """Close what is open of it."""
        for end in (self.inlet, self._outlet):
            if end >= 0:
                os.close(end)


def _pipe() -> Channel:
    outlet, inlet = os.pipe()
    fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, ROOM)
    return Channel(inlet, outlet)


def _socket() -> Channel:
    """Return what systemd gives to a service."""
    inlet, outlet = socket.socketpair()
    inlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    return Channel(inlet.detach(), outlet.detach())


@pytest.fixture(params=[_pipe, _socket], ids=["pipe", "socket"])
def channel(request: pytest.FixtureRequest) -> Iterator[Channel]:
    """Where lines are written to."""
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def messages() -> Iterator[tuple[LogOutput, socket.socket]]:
    """An output, and a socket that receives each of its writes as one message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        yield LogOutput(theirs.fileno()), ours


async def test_log_lines_of_one_loop_turn_are_written_together_at_its_end(
    messages: tuple[LogOutput, socket.socket],
) -> None:
    output, written = messages
    for number in range(3):
        output.write_soon(str, f"{number}\n")
    with pytest.raises(BlockingIOError):
        written.recv(AT_ONCE)
    await asyncio.sleep(0)
    assert written.recv(AT_ONCE) == b"0\n1\n2\n"


async def test_log_writes_are_no_longer_than_a_pipe_takes_at_once_except_for_a_longer_line(
    messages: tuple[LogOutput, socket.socket],
) -> None:
    output, written = messages
    lines = [f"{number}".rjust(99) + "\n" for number in range(100)]
    lines[50] = "long".rjust(AT_ONCE) + "\n"
    for line in lines:
        output.write_soon(str, line)
    await asyncio.sleep(0)
    found: list[str] = []
    while "".join(found) != "".join(lines):
        found.append(written.recv(2 * AT_ONCE).decode())
    assert all(part.endswith("\n") for part in found)
    assert [part for part in found if len(part) > AT_ONCE] == [lines[50]]
    assert len(found) < 8


async def test_an_event_is_written_at_once_together_with_the_lines_before_it(
    messages: tuple[LogOutput, socket.socket],
) -> None:
    output, written = messages
    output.write_soon(str, "request\n")
    output.write("error\n")
    output.flush()
    assert written.recv(AT_ONCE) == b"request\nerror\n"


def test_a_log_line_without_an_event_loop_is_written_at_once(
    messages: tuple[LogOutput, socket.socket],
) -> None:
    output, written = messages
    output.write_soon(str, "one\n")
    assert written.recv(AT_ONCE) == b"one\n"


def test_unread_log_lines_wait_up_to_the_limit_and_further_lines_are_dropped(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_output, "MAX_WAITING", 10)
    recovered: list[int] = []
    channel.fill()
    output = LogOutput(channel.inlet, on_recovered=recovered.append)
    for line in ("12345678\n", "\n"):
        output.write_soon(str, line)
    assert output.dropped == 0
    for _ in range(3):
        output.write_soon(str, "\n")
    assert output.dropped == 3
    assert channel.lines() == []
    output.flush()
    assert channel.lines() == ["12345678"]
    output.write_soon(str, "again\n")
    assert channel.lines() == ["again"]
    assert recovered == [3]


async def test_waiting_log_lines_are_written_when_the_reader_resumes_without_a_new_line(
    channel: Channel,
) -> None:
    channel.fill()
    output = LogOutput(channel.inlet)
    output.write_soon(str, "one\n")
    await asyncio.sleep(0)
    channel.read()
    found: list[str] = []

    def is_there() -> bool:
        found.extend(channel.lines())
        return found == ["one"]

    await until(is_there)
    assert os.get_blocking(channel.inlet), "others who write there would lose lines"


def test_log_lines_are_counted_as_dropped_when_their_reader_is_gone(channel: Channel) -> None:
    output = LogOutput(channel.inlet)
    channel.end_reading()
    for _ in range(2):
        output.write_soon(str, "one\n")
    assert output.dropped == 2


def test_closing_the_log_output_waits_a_moment_for_a_slow_reader(channel: Channel) -> None:
    channel.fill()
    output = LogOutput(channel.inlet)
    output.write_soon(str, "one\n")
    found: list[bytes] = []
    reader = threading.Timer(0.05, lambda: found.append(channel.read()))
    reader.start()
    output.close()
    reader.join()
    assert channel.lines() == ["one"] or found[0].endswith(b"one\n")


def test_closing_the_log_output_does_not_wait_forever_for_a_reader(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate_gateway.telemetry.log_output.LAST_S", 0.05)
    channel.fill()
    output = LogOutput(channel.inlet)
    output.write_soon(str, "one\n")
    output.close()


@pytest.mark.usefixtures("processes")
def test_a_server_whose_log_is_not_read_still_answers_requests() -> None:
    outlet, inlet = os.pipe()
    fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, ROOM)
    server = _Logging(inlet)
    reads = [f"{number}" for number in range(40)]  # over 10 KB of lines
    try:
        server.start()
        for number in reads:
            assert ask(server.port, "GET", f"/v1/stream/{number}").status == 404
        metrics = ask(server.admin_port, "GET", "/metrics").body.decode()
        assert "\nheadgate_log_lines_dropped_total 0.0\n" in metrics
        os.close(inlet)
        with os.fdopen(outlet) as log:
            server.process.terminate()
            lines = [json.loads(line) for line in log]
    finally:
        server.close()
    paths = [line["path"] for line in lines if line["event"] == "request"]
    assert paths == [f"/v1/stream/{number}" for number in reads]
    assert lines[-1]["event"] == "server.stopped"


class _Logging(Headgate):
    """A server that writes a line for each request to a descriptor."""

    process: Process

    def __init__(self, log: int) -> None:
        super().__init__(environment={"HEADGATE_LOG__REQUESTS": "info"})
        self._stderr = log

    def spawn(self) -> None:
        self.process = start(self.arguments, environment=self.environment, stderr=self._stderr)
