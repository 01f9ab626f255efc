"""Servers that a gateway stands in front of, each counting what it is asked."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.http1 import ask
from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT, Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LONG_POLL_S = 20.0
COUNTING_ORIGIN = ROOT / "tests" / "node" / "counting_origin.mjs"


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests that arrived at an origin."""

    catch_up: int = 0
    long_poll: int = 0
    sse: int = 0
    head: int = 0
    writes: int = 0

    @classmethod
    def of(cls, found: Mapping[str, int]) -> Counts:
        """From the numbers by kind, named as `kind` does."""
        return cls(*(found.get(name, 0) for name in KINDS))

    @property
    def reads(self) -> int:
        return self.catch_up + self.long_poll + self.sse

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.catch_up - other.catch_up,
            self.long_poll - other.long_poll,
            self.sse - other.sse,
            self.head - other.head,
            self.writes - other.writes,
        )


KINDS = ("catch-up", "long-poll", "sse", "head", "write")


def kind(method: str, target: str) -> str:
    """What a request is, in the words of `KINDS`."""
    if method == "GET":
        return parse_qs(urlsplit(target).query).get("live", ["catch-up"])[0]
    return "head" if method == "HEAD" else "write"


class Reference:
    """The protocol's reference server as a process; it keeps its port when it is started again."""

    def __init__(self, folder: Path | None = None, *, long_poll_s: float = LONG_POLL_S) -> None:
        self.port = free_port()
        self._counts_port = free_port()
        numbers = (self.port, self._counts_port, int(long_poll_s * 1000))
        data = (str(folder),) if folder else ()
        self._command = (str(NODE), str(COUNTING_ORIGIN), *map(str, numbers), *data)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until both of its ports accept."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: accepts(self.port) and accepts(self._counts_port))
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would be; safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def counts(self) -> Counts:
        """What it was asked since its start."""
        return Counts.of(ask(self._counts_port, "GET", "/").json())


@contextlib.contextmanager
def reference(
    folder: Path | None = None, *, long_poll_s: float = LONG_POLL_S
) -> Iterator[Reference]:
    """A started reference server that is killed when the block ends."""
    origin = Reference(folder, long_poll_s=long_poll_s)
    try:
        yield origin.start()
    finally:
        origin.kill()


class Electric:
    """Electric's server, whose program is elsewhere; it keeps its port when it is started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        small = ("--wal-shards", "1", "--wal-segment-bytes", str(1 << 20))
        self._command = (program, "--port", str(self.port), "--data-dir", str(folder), *small)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until it accepts."""
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=null, stderr=null)
        wait_until(lambda: accepts(self.port))
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would be; safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class OwnLog(Headgate):
    """A Headgate with a log of its own, as the origin of another one."""

    def __init__(self, origin: str = "memory:", *, long_poll_s: float = LONG_POLL_S) -> None:
        logged = {"HEADGATE_LOG__REQUESTS": "info", "HEADGATE_LOG__FORMAT": "json"}
        polls = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": str(long_poll_s)}
        super().__init__(origin, environment={**logged, **polls})
        self._marks = map("/v1/stream/mark{}".format, itertools.count())

    def counts(self) -> Counts:
        """What it was asked and has answered since its start."""
        found: dict[str, int] = {}
        for line in self._lines_up_to(next(self._marks)):
            if line["event"] == "request" and "/mark" not in line["path"]:
                counted = kind(line["method"], line["path"])
                found[counted] = found.get(counted, 0) + 1
        return Counts.of(found)

    def _lines_up_to(self, mark: str) -> list[dict[str, str]]:
        """Those written before that of a request which is sent now; the last may be half a line."""
        assert ask(self.port, "HEAD", mark).status == 404
        wait_until(lambda: mark in self._whole_lines(), "a request to be logged", self.output)
        return [json.loads(line) for line in self._whole_lines().splitlines()]

    def _whole_lines(self) -> str:
        return self.output().rpartition("\n")[0]


@contextlib.contextmanager
def own_log(origin: str = "memory:", *, long_poll_s: float = LONG_POLL_S) -> Iterator[OwnLog]:
    """A started Headgate that is killed when the block ends."""
    server = OwnLog(origin, long_poll_s=long_poll_s)
    try:
        server.start()
        yield server
    finally:
        server.close()
