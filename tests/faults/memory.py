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
from typing import TYPE_CHECKING

from tests.faults import native
from tests.faults.wire import Wire, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

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
class Cost:
    """Resident memory with all readers connected and nothing appended, and its maximum after."""

    idle_bytes: int
    peak_bytes: int
    complete: int
    """Readers that received and compared every byte."""
    received_bytes: int
    reconnected: int
    silent_cut: int
    append_s: float
    seconds: float

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.idle_bytes

    def __str__(self) -> str:
        return (
            f"idle={self.idle_bytes >> 20}MiB peak={self.peak_bytes >> 20}MiB "
            f"growth={self.growth_bytes >> 20}MiB complete={self.complete} "
            f"received={self.received_bytes / 1e9:.1f}GB reconnected={self.reconnected} "
            f"silent_cut={self.silent_cut} append_s={self.append_s:.1f} seconds={self.seconds:.0f}"
        )


def measure(server: Headgate, load: Load, folder: Path, seed: int = 1) -> Cost:
    """Run `load` against a started server; fails when a reader gets a wrong byte."""
    _allow_files(load.readers + SPARE_FILES)
    content = write_content(load.content_bytes, folder, seed)
    created = ask(server.port, "PUT", STREAM, content_type="text/plain")
    assert created.status == 201, created
    with swarm(server.port, content, load, folder) as readers:
        assert readers.stdout is not None
        assert readers.stdout.readline() == b"ready\n", "the readers did not all get through"
        _reset_peak(server.pid)
        idle = _status(server.pid, "VmRSS")
        began = time.monotonic()
        append_all(server.port, content)
        append_s = time.monotonic() - began
        told = json.loads(readers.stdout.readline())
        seconds = time.monotonic() - began
    assert "failed" not in told, told
    return Cost(
        idle_bytes=idle,
        peak_bytes=_status(server.pid, "VmHWM"),
        complete=told["complete"],
        received_bytes=told["received"],
        reconnected=told["ends"] + told["cuts"] + told["refused"] + told["failed_connects"],
        silent_cut=told["silent_cut"],
        append_s=append_s,
        seconds=seconds,
    )


def write_content(size: int, folder: Path, seed: int) -> Path:
    """A file of text without a line break, no two places of which are alike."""
    path = folder / "content"
    path.write_bytes(base64.b64encode(random.Random(seed).randbytes(size // 4 * 3)))
    return path


@contextlib.contextmanager
def swarm(port: int, content: Path, load: Load, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The readers, in a process of their own."""
    program = native.program("swarm", folder)
    numbers = (str(load.readers), str(load.silent))
    command = [str(program), str(port), STREAM, str(content), *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
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


def _allow_files(count: int) -> None:
    """Raise this process's limit, which the server and the readers inherit or know by its rest."""
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
