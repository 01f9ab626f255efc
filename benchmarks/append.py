"""Appends by 64 writers, single ones and multi-appends, every acknowledged one looked for."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.machine import Unprepared, file_system
from benchmarks.report import CORES, DELAYS, Column, Section, against, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer, Reference
from benchmarks.tools import ToolFailed, run
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

WRITERS = 64
RECORD_BYTES = 100
MESSAGE_BYTES = 20
BATCH = 100  # messages in a multi-append
# Of durable appends to 8 streams, by which each other server's divide ours.
LEAST_ON_8 = {"reference, files": 20, "electric, wal": 0.85}
DISK = ROOT / "build"
# With appends to more streams at once the reference server closes files that are being written to,
# and answers 404.
REFERENCE_FILES = 100


def bench(plan: Plan) -> Section:
    """Durable appends against others' files, and against no disk at all."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        for streams in plan.loads([8, 1000], 1):
            if isinstance(server, Reference) and streams > REFERENCE_FILES:
                continue

            def once(streams: int = streams) -> Figures:
                names = [f"append-{next(numbers)}" for _ in range(streams)]
                return append(server, names, plan.milliseconds)

            append(server, [f"warm-{streams}"], 500)
            yield f"{streams:,} streams", undisturbed(once)

    with folders() as fresh_folder:
        found = medians(
            plan,
            [
                lambda: HeadgateServer(f"file:{fresh_folder()}"),
                lambda: HeadgateServer("memory:"),
                lambda: Reference(fresh_folder()),
                *peers.on_disk(fresh_folder),
                *peers.at_hand(),
            ],
            measure,
        )
    ours, appends = "headgate file:", ("durable", "per_s")
    few, many = "8 streams", "1,000 streams"
    durable, memory = (found[label][few]["per_s"] for label in (ours, "headgate memory:"))
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {WRITERS} connections",
        columns=(Column("per_s", "appends/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=[
            *against(at_least, found, ours, few, appends, LEAST_ON_8),
            *against(at_least, found, ours, many, appends, {"electric, wal": 0.75}),
            at_least("8 streams: durable / headgate memory:", 100 * durable / memory, 65, "%"),
        ],
    )


def bench_multi(plan: Plan) -> Section:
    """Messages of 20 bytes, in multi-appends and by themselves, into a folder and into memory."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        for load, together in (("one by one", 0), (f"in batches of {BATCH}", BATCH)):

            def once(together: int = together) -> Figures:
                names = [f"append-{next(numbers)}" for _ in range(8)]
                return append(server, names, plan.milliseconds, of=MESSAGE_BYTES, together=together)

            append(server, [f"warm-{next(numbers)}"], 500, of=MESSAGE_BYTES, together=together)
            yield load, undisturbed(once)

    with folders() as fresh_folder:
        found = medians(
            plan,
            [
                lambda: HeadgateServer(f"file:{fresh_folder()}"),
                lambda: HeadgateServer("memory:"),
            ],
            measure,
        )
    rate = found["headgate file:"][f"in batches of {BATCH}"]["messages_per_s"]
    return Section(
        title=f"messages of {MESSAGE_BYTES} bytes over {WRITERS} connections to 8 streams",
        columns=(
            Column("messages_per_s", "messages/s"),
            Column("per_s", "appends/s"),
            *DELAYS,
            *CORES,
        ),
        servers=found,
        verdicts=[at_least("file:, in batches: messages/s", rate, 500_000, "")],
    )


def append(
    server: Server,
    streams: Sequence[str],
    milliseconds: int,
    *mode: str,
    of: int = RECORD_BYTES,
    together: int = 0,
) -> Figures:
    """One run over new streams, which afterwards hold all that was acknowledged.

    Records `of` so many bytes, by themselves or so many `together` in one multi-append.
    """
    paths = [server.append_path(stream) for stream in streams]
    server.create_all(streams, "text/plain")
    ports = f"{server.port},{server.append_port}"
    load = (ports, WRITERS, milliseconds, server.pid, of)
    in_one = ("multi", together) if together else ()
    figures = run("load", *mode, *in_one, "post", *load, *paths)
    kept = sum(count_records(read_all(server, path), path, of) for path in paths)
    each = max(together, 1)
    if kept != figures["requests"] * each:
        raise ToolFailed(f"{figures['requests']} appends acknowledged, {kept} records in the log")
    return {**figures, "messages_per_s": figures["per_s"] * each}


@contextlib.contextmanager
def folders() -> Iterator[Callable[[], Path]]:
    """Yield a function that makes a new folder on the disk; all are deleted afterwards."""
    DISK.mkdir(exist_ok=True)
    if file_system(DISK) in ("tmpfs", "ramfs"):
        raise Unprepared(f"{DISK} is no disk, so nothing on it is durable.")
    folder = tempfile.mkdtemp(prefix="bench-", dir=DISK)
    try:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))
    finally:
        shutil.rmtree(folder)


def read_all(server: Server, path: str) -> bytes:
    """Read a stream from its beginning to its tail."""
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


def count_records(log: bytes, path: str, of: int = RECORD_BYTES) -> int:
    """How many records a log holds, each writer's in the order they were sent, without a gap."""
    following: dict[bytes, int] = {}
    for start in range(0, len(log), of):
        record = log[start : start + of]
        writer, number = record[:3], record[4:13]
        expected = following.setdefault(writer, 0)
        if record != b"%s %09d%s\n" % (writer, expected, b"." * (of - 14)):
            raise ToolFailed(f"{path}: {record!r} where {expected} of {writer!r} belongs")
        following[writer] = int(number) + 1
    return sum(following.values())
