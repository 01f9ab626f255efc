"""A long stream that one client reads from its beginning: of a fresh server, and again.

Of a fresh server twice: with its files in the system's memory, as they are soon after they were
written, and from the disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.append import folders
from benchmarks.machine import TOOL_CORE
from benchmarks.peers import Electric
from benchmarks.proxies import HeadgateProxy
from benchmarks.report import CORES, Column, Section, against, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer, Reference
from benchmarks.tools import ToolFailed, run
from tests.support.http1 import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

STREAM_BYTES = 100_000_000
RECORD_BYTES = 1000
APPEND_BYTES = 1_000_000
STREAM = "long"
OURS = "headgate file:"


class BeforeElectric(HeadgateProxy):
    """Headgate before Electric's server, which shares the tool's core."""

    def __init__(self, folder: Path) -> None:
        super().__init__(origin=Electric(folder, core=TOOL_CORE), through=True)
        self.label = "headgate, before electric"

    def restart(self) -> None:
        """Only Headgate: its cache is empty then."""
        HeadgateServer.stop(self)
        HeadgateServer.start(self)


def bench(plan: Plan) -> Section:
    """Headgate's folder against the reference server's files and the peers at hand."""
    with folders() as fresh_folder:
        disk = fresh_folder().parent

        def measure(server: Server) -> Iterator[tuple[str, Figures]]:
            fill(server)

            def cold() -> Figures:
                server.restart()
                return walk(server, 1)

            def from_disk() -> Figures:
                server.restart()
                forget(disk)
                return walk(server, 1)

            yield "from disk", undisturbed(from_disk)
            yield "cold", undisturbed(cold)  # what was just read from the disk is in memory
            yield "warm", undisturbed(lambda: walk(server, plan.milliseconds))

        found = medians(
            plan,
            [
                lambda: HeadgateServer(f"file:{fresh_folder()}"),
                lambda: Reference(fresh_folder()),
                *peers.on_disk(fresh_folder),
                *([lambda: BeforeElectric(fresh_folder())] if Electric.program() else []),
            ],
            measure,
        )
    rate = ("bytes/s", "mb_per_s")
    return Section(
        title=f"{STREAM_BYTES // 1_000_000} MB read by one client",
        columns=(Column("mb_per_s", "MB/s"), Column("requests", "reads"), *CORES),
        servers=found,
        verdicts=[
            *against(at_least, found, OURS, "cold", rate, {"electric, wal": 2}),
            *against(at_least, found, OURS, "warm", rate, {"electric, wal": 4}),
        ],
    )


def fill(server: Server) -> None:
    """Make the stream, of the records that the walking tool expects."""
    path = server.append_path(STREAM)
    server.create(STREAM, "text/plain")
    with Wire(server.append_port) as wire:
        for start in range(0, STREAM_BYTES // RECORD_BYTES, APPEND_BYTES // RECORD_BYTES):
            records = range(start, start + APPEND_BYTES // RECORD_BYTES)
            body = b"".join(b"000 %09d%s\n" % (it, b"." * (RECORD_BYTES - 14)) for it in records)
            answer = wire.request("POST", path, body, content_type="text/plain")
            if answer.status not in (200, 204):
                raise ToolFailed(f"{server.label}: appending to {path}: {answer.status}")


def forget(folder: Path) -> None:
    """Have the system read the files below a folder from the disk again."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # it keeps what is not written yet
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def walk(server: Server, milliseconds: int) -> Figures:
    """Read the whole stream, and again until the time is over; each byte is compared."""
    path = server.append_path(STREAM)
    figures = run("walk", server.port, milliseconds, server.pid, RECORD_BYTES, path)
    if figures["streams_bytes"] != STREAM_BYTES:
        raise ToolFailed(f"{server.label}: {figures['streams_bytes']:,} bytes were read")
    return figures
