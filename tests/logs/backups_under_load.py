"""Back up a folder while its server takes appends, and restore the copy elsewhere.

Everything acknowledged before a backup began has to be in its copy, without a gap and in order. The
folder is verified in between, while streams come and go.
Some backups are killed: what they leave must not pass for one. How long appends take is measured
with and without a backup beside them.
"""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.http1 import ask, request
from tests.support.processes import HEADGATE, headgate, run, start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.processes import Headgate

STREAMS = 8
DEPTH = 64  # appends of a writer that are under way together
RECORD_BYTES = 100
FILL_BYTES = 256 * 1024  # of an append that only makes the file larger
PAUSE_S = 0.002  # between two appends of the one that measures
LEAST_SAMPLES = 50
TIMEOUT_S = 600.0


class Run(NamedTuple):
    """The result of a campaign: appends a second, and how long single ones took (seconds)."""

    rate: float
    without: list[float]
    beside: list[float]
    took: list[float]  # seconds of each backup
    kills: int  # backups that were killed before they had a name


@dataclass
class Load:
    """Writers of one server, each with a stream, and one that measures."""

    server: Headgate
    acknowledged: dict[str, int] = field(default_factory=dict)
    latencies: list[tuple[float, float]] = field(default_factory=list)  # when begun, and how long
    is_over: bool = False

    async def run(self) -> None:
        """Write until `is_over`."""
        names = [f"s{number}" for number in range(STREAMS)]
        for name in (*names, "measured"):
            created = await asyncio.to_thread(
                ask, self.server.port, "PUT", _path(name), None, Content_Type="text/plain"
            )
            assert created.status == 201
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._write(name))
            group.create_task(self._measure())
            group.create_task(self._come_and_go())

    async def _write(self, name: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.acknowledged[name] = sent = 0
        while not self.is_over:
            writer.write(b"".join(_append(name, record(name, sent + at)) for at in range(DEPTH)))
            sent += DEPTH
            for _ in range(DEPTH):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 204"), head
                self.acknowledged[name] += 1
        writer.close()

    async def _measure(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        while not self.is_over:
            began = time.monotonic()
            writer.write(_append("measured", b"x" * RECORD_BYTES))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            self.latencies.append((began, time.monotonic() - began))
            await asyncio.sleep(PAUSE_S)
        writer.close()

    async def _come_and_go(self) -> None:
        """Create, fill, close and delete streams, as a verification comes by them."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        number = 0
        while not self.is_over:
            name, number = f"brief{number % 50}", number + 1
            for method, body, status in (
                ("DELETE", None, b""),  # there is none in the first round
                ("PUT", None, b"201"),
                ("POST", b"x" * RECORD_BYTES, b"204"),
                ("POST", b"y" * 20_000, b"204"),
            ):
                writer.write(request(method, _path(name), body, Content_Type="text/plain"))
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                assert status in head.partition(b"\r\n")[0], head
            await asyncio.sleep(PAUSE_S)
        writer.close()

    async def measured(self, samples: int) -> None:
        """Wait until so many more appends were measured."""
        until = len(self.latencies) + samples
        while len(self.latencies) < until:
            await asyncio.sleep(0.05)


def _path(name: str) -> str:
    return f"/v1/stream/{name}"


def _append(name: str, data: bytes) -> bytes:
    return request("POST", _path(name), data, Content_Type="text/plain")


def record(name: str, number: int) -> bytes:
    """Return the record of a stream with this number."""
    return f"{name} {number} ".encode().ljust(RECORD_BYTES - 1, b".") + b"\n"


def fill(server: Headgate, megabytes: int) -> None:
    """Make the file so large that copying it takes a while."""
    if megabytes:
        assert ask(server.port, "PUT", _path("full"), None, Content_Type="text/plain").status == 201
    for number in range(megabytes * 4):
        data = random.Random(number).randbytes(FILL_BYTES)
        answer = ask(server.port, "POST", _path("full"), data, Content_Type="text/plain")
        assert answer.status == 204


async def backed_up(folder: Path, to: Path) -> float:
    """Back up, and return how long it took (seconds)."""
    began = time.monotonic()
    done = await asyncio.to_thread(
        run, [HEADGATE, "data", "backup", str(folder), str(to)], timeout_s=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


async def verified(folder: Path) -> None:
    """Verify a folder whose server goes on: nothing may look like damage."""
    done = await asyncio.to_thread(
        run, [HEADGATE, "data", "verify", str(folder)], timeout_s=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def killed(folder: Path, to: Path, after_s: float) -> bool:
    """Kill a backup after a while; return whether it had no name yet."""
    process = start([HEADGATE, "data", "backup", str(folder), str(to)])
    await asyncio.sleep(after_s)
    process.kill()
    process.wait()
    if to.exists():
        check_restored(to, {})
        to.unlink()
        return False
    draft = to.with_name(f"{to.name}.partial")
    if draft.exists():
        with tempfile.TemporaryDirectory() as other:
            done = run(
                [HEADGATE, "data", "restore", str(draft), f"{other}/data"], timeout_s=TIMEOUT_S
            )
            # A copy that was verified and synced, and only lacked its name, is complete.
            assert (
                done.returncode == 1 or not run([HEADGATE, "data", "verify", str(draft)]).returncode
            )
    return True


def check_restored(copy: Path, acknowledged: Mapping[str, int]) -> None:
    """Restore a backup elsewhere, and read there what had been acknowledged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        done = run([HEADGATE, "data", "restore", str(copy), str(folder)], timeout_s=TIMEOUT_S)
        assert done.returncode == 0, done.stderr
        with headgate(f"file:{folder}") as server:
            for stream, least in acknowledged.items():
                found = _read_all(server, stream)
                number = len(found) // RECORD_BYTES
                assert number >= least, f"{stream}: {number} of {least} records"
                assert found == b"".join(record(stream, at) for at in range(number)), stream


def _read_all(server: Headgate, name: str) -> bytes:
    data, offset = b"", "-1"
    while True:
        answer = ask(server.port, "GET", f"{_path(name)}?offset={offset}")
        assert answer.status == 200
        data, offset = data + answer.body, answer.next_offset
        if answer.get("stream-up-to-date") == "true":
            return data


async def play(folder: Path, *, backups: int, kills: int, megabytes: int, seed: int) -> Run:
    """Write, kill some backups, make others, and check that each has all that it has to have."""
    chance = random.Random(seed)
    took: list[float] = []
    spans: list[tuple[float, float]] = []
    with headgate(f"file:{folder / 'data'}") as server:
        await asyncio.to_thread(fill, server, megabytes)
        load = Load(server)
        writing = asyncio.create_task(load.run())
        await load.measured(LEAST_SAMPLES)
        began, count = time.monotonic(), sum(load.acknowledged.values())
        longest = 0.5
        unnamed = 0
        copies: list[tuple[Path, dict[str, int]]] = []
        for number in range(backups):
            before = dict(load.acknowledged)
            at = time.monotonic()
            copy = folder / f"copy{number}"
            took.append(await backed_up(folder / "data", copy))
            spans.append((at, time.monotonic()))
            longest = max(took)
            await verified(folder / "data")
            copies.append((copy, before))
            await load.measured(LEAST_SAMPLES)
        rate = (sum(load.acknowledged.values()) - count) / (time.monotonic() - began)
        for number in range(kills):
            unnamed += await killed(
                folder / "data", folder / f"killed{number % 2}", chance.uniform(0, longest)
            )
        load.is_over = True
        await writing
        for copy, before in copies:
            await asyncio.to_thread(check_restored, copy, before)
            copy.unlink()
    beside = [it for at, it in load.latencies if any(a <= at <= b for a, b in spans)]
    without = [
        it
        for at, it in load.latencies
        if at <= max(b for _, b in spans) and not any(a <= at <= b for a, b in spans)
    ]
    return Run(rate, sorted(without), sorted(beside), took, unnamed)
