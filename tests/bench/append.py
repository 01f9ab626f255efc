"""Appends of 100 bytes by 64 writers, every acknowledged one looked for in the log."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.machine import Unprepared, file_system
from tests.bench.report import CORES, DELAYS, Column, Section, at_least
from tests.bench.rounds import medians, undisturbed
from tests.bench.servers import HeadgateServer, Reference
from tests.bench.tools import ToolFailed, run
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.rounds import Plan
    from tests.bench.servers import Server
    from tests.bench.tools import Figures

WRITERS = 64
RECORD_BYTES = 100
DISK = ROOT / "build"


def bench(plan: Plan) -> Section:
    """Durable appends against the reference server's files and against no disk at all."""
    DISK.mkdir(exist_ok=True)
    if file_system(DISK) in ("tmpfs", "ramfs"):
        raise Unprepared(f"{DISK} is no disk, so nothing on it is durable.")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=DISK))
    numbers = itertools.count()

    def fresh_folder() -> Path:
        place = folder / str(next(numbers))
        place.mkdir()
        return place

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        for streams in plan.loads([8], 1):

            def once(streams: int = streams) -> Figures:
                names = [f"append-{next(numbers)}" for _ in range(streams)]
                return append(server, names, plan.milliseconds)

            append(server, [f"warm-{streams}"], 500)
            yield f"{streams} streams", undisturbed(once)

    try:
        found = medians(
            plan,
            [
                lambda: HeadgateServer(f"file:{fresh_folder()}"),
                lambda: HeadgateServer("memory:"),
                lambda: Reference(fresh_folder()),
            ],
            measure,
        )
    finally:
        shutil.rmtree(folder)
    rates = {label: measured["8 streams"]["per_s"] for label, measured in found.items()}
    durable, memory = rates["headgate file:"], rates["headgate memory:"]
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {WRITERS} connections",
        columns=(Column("per_s", "appends/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=[
            at_least("8 streams: durable / reference", durable / rates["reference, files"], 20),
            at_least("8 streams: durable / headgate memory:", 100 * durable / memory, 65, "%"),
        ],
    )


def append(server: Server, streams: Sequence[str], milliseconds: int, *mode: str) -> Figures:
    """One run over new streams, which afterwards hold all that was acknowledged."""
    paths = [server.append_path(stream) for stream in streams]
    server.create_all(streams, "text/plain")
    ports = f"{server.port},{server.append_port}"
    load = (ports, WRITERS, milliseconds, server.pid, RECORD_BYTES)
    figures = run("load", *mode, "post", *load, *paths)
    kept = sum(count_records(_read_all(server, path), path) for path in paths)
    if kept != figures["requests"]:
        raise ToolFailed(f"{figures['requests']} appends acknowledged, {kept} in the log")
    return figures


def _read_all(server: Server, path: str) -> bytes:
    """A stream from its beginning to its tail."""
    offset, parts = "-1", []
    while True:
        answer = server.request("GET", f"{path}?offset={offset}")
        if answer.status != 200:
            raise ToolFailed(f"reading {path} at {offset}: {answer}")
        parts.append(answer.body)
        offset = answer.headers["stream-next-offset"]
        if answer.headers.get("stream-up-to-date") == "true":
            return b"".join(parts)
        if not answer.body:
            raise ToolFailed(f"{path} at {offset} has neither data nor an end")


def count_records(log: bytes, path: str) -> int:
    """How many records a log holds, each writer's in the order they were sent, without a gap."""
    following: dict[bytes, int] = {}
    for start in range(0, len(log), RECORD_BYTES):
        record = log[start : start + RECORD_BYTES]
        writer, number = record[:3], record[4:13]
        expected = following.setdefault(writer, 0)
        if record != b"%s %09d%s\n" % (writer, expected, b"." * (RECORD_BYTES - 14)):
            raise ToolFailed(f"{path}: {record!r} where {expected} of {writer!r} belongs")
        following[writer] = int(number) + 1
    return sum(following.values())
