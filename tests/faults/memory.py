"""What a stream with thousands of readers, some of whom never read, costs the server in memory."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults import native
from tests.support.http1 import Wire, ask
from tests.support.processes import ANEW, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "/v1/stream/flood"
APPEND_BYTES = 1 << 16
SPARE_FILES = 500


@dataclass(frozen=True, slots=True)
class Load:
    """How many readers, how many of them silent, and how much is appended."""

    readers: int
    silent: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the readers say at their end: each of the complete ones compared every byte."""

    complete: int
    received: int
    ends: int
    """Connections that the server ended properly before the stream's end."""
    cuts: int
    """... and otherwise."""
    refused: int
    failed_connects: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Resident memory of the server, and what its readers had of it."""

    idle_bytes: int
    """All readers connected, nothing appended."""
    live_bytes: int
    """At most, while everything is appended and read."""
    herd_bytes: int
    """At most, while as many readers come at once to read everything from its beginning."""
    live: Told
    herd: Told
    seconds: float

    @property
    def growth_bytes(self) -> int:
        return max(self.live_bytes, self.herd_bytes) - self.idle_bytes

    def __str__(self) -> str:
        return (
            f"idle={self.idle_bytes >> 20}MiB live={self.live_bytes >> 20}MiB "
            f"herd={self.herd_bytes >> 20}MiB growth={self.growth_bytes >> 20}MiB "
            f"seconds={self.seconds:.0f}\n  live: {self.live}\n  herd: {self.herd}"
        )


def measure(load: Load, folder: Path, seed: int = 1) -> Cost:
    """Run `load` against a server of its own; fails when a reader gets a wrong byte."""
    allow_files(load.readers + SPARE_FILES)
    content = write_content(load.content_bytes, folder, seed)
    with headgate(f"file:{folder / 'data'}", preface=ANEW) as server:
        created = ask(server.port, "PUT", STREAM, content_type="text/plain")
        assert created.status == 201, created
        began = time.monotonic()
        with swarm(server.port, content, load, folder) as readers:
            assert next(readers) == {"ready": load.readers}, "the readers did not all get through"
            _reset_peak(server.pid)
            idle_bytes = _status(server.pid, "VmRSS")
            append_all(server.port, content)
            live = _told(next(readers))
            live_bytes = _status(server.pid, "VmHWM")
        _reset_peak(server.pid)
        with swarm(server.port, content, load, folder) as readers:
            herd = _told(list(readers)[-1])
            herd_bytes = _status(server.pid, "VmHWM")
    return Cost(idle_bytes, live_bytes, herd_bytes, live, herd, time.monotonic() - began)


def _told(line: dict[str, Any]) -> Told:
    assert "failed" not in line, line
    return Told(**line)


def write_content(size: int, folder: Path, seed: int) -> Path:
    """A file of text without a line break, no two places of which are alike."""
    path = folder / "content"
    path.write_bytes(base64.b64encode(random.Random(seed).randbytes(size // 4 * 3)))
    return path


@contextlib.contextmanager
def swarm(port: int, content: Path, load: Load, folder: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The readers, in a process of their own, as the lines it tells."""
    program = native.program("swarm", folder)
    numbers = (str(load.readers), str(load.silent))
    command = [str(program), str(port), STREAM, str(content), *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()


def append_all(port: int, content: Path) -> None:
    """Append the file as fast as the answers come, then close the stream."""
    with Wire(port) as wire, content.open("rb") as file:
        while data := file.read(APPEND_BYTES):
            answer = wire.request("POST", STREAM, data, content_type="text/plain")
            assert answer.status == 204, answer
        closed = wire.request("POST", STREAM, b"", stream_closed="true")
        assert closed.status == 204, closed


def allow_files(count: int) -> None:
    """Raise the limit of this process, which the server and the readers inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= count, f"{count} open files are needed, the hard limit is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _status(pid: int, key: str) -> int:
    """A figure of /proc/<pid>/status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _reset_peak(pid: int) -> None:
    """Let the kernel count the maximum of resident memory (VmHWM) from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
