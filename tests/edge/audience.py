"""An audience before a gateway: many viewers of one stream that is written behind it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tests.edge.gateways import PREFIX, metric
from tests.faults import native
from tests.support.http1 import Wire, ask
from tests.support.processes import ROOT, Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.origin_servers import Counts, Reference

Style = Literal["poll", "client", "catch-up", "sse"]

TOOL_TIMEOUT_S = 300.0
WAVES = 20  # of viewers who begin at the tail
MESSAGE_BYTES = 100
_FLAGS = ("-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror")


class Joined(NamedTuple):
    """What those cost the origin who came, and what they did in all."""

    coming: Counts
    all: Counts


@dataclass(frozen=True, slots=True)
class Show:
    """What the audience sees, and how many they are; the late ones come when half is over."""

    style: Style
    viewers: int
    late: int
    messages: int
    interval_s: float

    def content(self) -> bytes:
        return b"".join(message(number) for number in range(self.messages))


def message(number: int) -> bytes:
    """A line without an end, unlike every other."""
    return f"{number:08d} ".encode().ljust(MESSAGE_BYTES - 1, b".") + b" "


class Viewers:
    """The load tool at work; it fails when a viewer meets a wrong byte or status."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_ready(self) -> None:
        """Until all have asked, of events until all have got one."""
        assert self._tool.stdout is not None
        line = self._tool.stdout.readline()
        if b"ready" not in line:
            self.result(line)

    def result(self, begun: bytes = b"") -> dict[str, float]:
        output, complaint = self._tool.communicate(timeout=TOOL_TIMEOUT_S)
        said = begun + output + complaint
        assert self._tool.returncode == 0, said.decode()
        summary: dict[str, float] = json.loads(output.splitlines()[-1])
        return summary

    def stop(self) -> None:
        """End it, if it has not ended yet."""
        if self._tool.poll() is None:
            self._tool.kill()
        self._tool.communicate()


class Tools:
    """The tools, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swarm = native.program("swarm", folder)
        self._viewers = folder / "viewers"
        source = Path(__file__).with_name("viewers.c")
        includes = f"-I{ROOT / 'tests' / 'support'}"
        subprocess.run(["cc", *_FLAGS, includes, "-o", str(self._viewers), str(source)], check=True)

    def expect(self, content: bytes) -> Path:
        """A file with what a stream will hold in the end."""
        file = self._folder / "content"
        file.write_bytes(content)
        return file

    @contextlib.contextmanager
    def viewers(
        self, port: int, path: str, expected: Path, count: int, style: Style, start: str = "-1"
    ) -> Iterator[Viewers]:
        """So many viewers of a stream that will have this content from where they start."""
        where = (str(port), path, str(expected), str(count))
        command = (
            (str(self._swarm), *where, "0", start)
            if style == "sse"
            else (str(self._viewers), *where, style, start)
        )
        tool = Viewers(command)
        try:
            yield tool
        finally:
            tool.stop()


def perform(tools: Tools, show: Show, origin_port: int, edge_port: int, path: str) -> float:
    """Write a new stream at the origin while all look on at the edge; returns the seconds it took.

    Fails unless every viewer got every message once and in order, and the end.
    """
    assert ask(origin_port, "PUT", path, content_type="text/plain").status == 201
    began = time.monotonic()
    expected = tools.expect(show.content())
    with (
        tools.viewers(edge_port, path, expected, show.viewers, show.style) as early,
        Wire(origin_port) as writer,
    ):
        early.wait_ready()
        half = show.messages // 2
        _write(writer, path, range(half), show.interval_s)
        with tools.viewers(edge_port, path, expected, show.late, show.style) as late:
            _write(writer, path, range(half, show.messages), show.interval_s)
            assert writer.request("POST", path, stream_closed="true").status in {200, 204}
            assert early.result()["complete"] == show.viewers
            assert late.result()["complete"] == show.late
    return time.monotonic() - began


def perform_from_now(tools: Tools, show: Show, origin: Reference, gateway: Headgate) -> Joined:
    """Write a new stream at the origin once all look on at the edge who come at its tail.

    They come in waves, within about a second. Fails as `perform` does.
    """
    path = f"{PREFIX}/now-{show.style}"
    assert ask(origin.port, "PUT", path, content_type="text/plain").status == 201
    before, expected = origin.counts(), tools.expect(show.content())
    mode = {"poll": "long_poll"}.get(show.style, show.style)
    waiting = f'headgate_live_readers{{mode="{mode}",route="{PREFIX}"}}'
    with contextlib.ExitStack() as waves, Wire(origin.port) as writer:
        size = show.viewers // WAVES
        here = (gateway.port, path, expected, size, show.style, "now")
        viewers = [waves.enter_context(tools.viewers(*here)) for _ in range(WAVES)]
        for wave in viewers:
            wave.wait_ready()
        wait_until(lambda: metric(gateway, waiting) == size * WAVES)
        joined = origin.counts() - before
        _write(writer, path, range(show.messages), show.interval_s)
        assert writer.request("POST", path, stream_closed="true").status in {200, 204}
        for wave in viewers:
            assert wave.result()["complete"] == size
    return Joined(joined, origin.counts() - before)


def _write(writer: Wire, path: str, numbers: range, interval_s: float) -> None:
    """At a steady pace, whatever an answer takes."""
    begin = time.monotonic()
    pace = threading.Event()
    for count, number in enumerate(numbers):
        pace.wait(max(0.0, begin + count * interval_s - time.monotonic()))
        answer = writer.request("POST", path, message(number), content_type="text/plain")
        assert answer.status in {200, 204}, answer
