"""Memory that one waiting reader costs the server's process."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.machine import resident_bytes
from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import medians
from benchmarks.servers import HeadgateServer, Nchan, Reference
from benchmarks.tools import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rounds import Measured, Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures, Held

COUNTS = (5000, 8000)
EVENT_READER_KB = 3
POLLER_KB = 8
WHOLE, WHOLE_MB = "8,000 SSE readers", 40


def bench(plan: Plan) -> Section:
    """Idle SSE readers and waiting pollers, on a server that has had no others before."""
    found: dict[str, Measured] = {}
    headgate: Callable[[], Server] = lambda: HeadgateServer("memory:")  # noqa: E731 - as its peers
    kinds = [
        ("SSE readers", [headgate, Nchan, Reference, *peers.at_hand()]),
        ("pollers", [headgate, Reference, *peers.at_hand()]),
    ]
    for kind, servers in kinds:
        for count in COUNTS:
            measured = medians(plan, servers, partial(_measure, kind, count))
            for label, loads in measured.items():
                found.setdefault(label, {}).update(loads)
    ours = found["headgate memory:"]
    limits = {"SSE readers": EVENT_READER_KB, "pollers": POLLER_KB}
    return Section(
        title="memory of a waiting reader",
        columns=(
            Column("kb_each", "KB each", 2),
            Column("before_mb", "MB before", 1),
            Column("whole_mb", "MB in all", 1),
        ),
        servers=found,
        verdicts=[
            *(
                at_most(f"{count:,} {kind}", ours[f"{count:,} {kind}"]["kb_each"], limit, "KB")
                for kind, limit in limits.items()
                for count in COUNTS
            ),
            at_most(f"{WHOLE}: in all", ours[WHOLE]["whole_mb"], WHOLE_MB, "MB"),
        ],
    )


def _measure(kind: str, count: int, server: Server) -> Iterator[tuple[str, Figures]]:
    # What every server needs once, whoever comes, is no reader's cost.
    with _waiting(kind, server, "first", 100) as readers:
        readers.release()
    server.settle()
    before = resident_bytes(server.pid)
    with _waiting(kind, server, "idle", count) as readers:
        server.settle()
        whole = resident_bytes(server.pid)
        readers.release()
    each = (whole - before) / count
    figures = {"kb_each": each / 1000, "before_mb": before / 1e6, "whole_mb": whole / 1e6}
    yield f"{count:,} {kind}", figures


@contextmanager
def _waiting(kind: str, server: Server, stream: str, count: int) -> Iterator[Held]:
    """Readers that wait for one event, which proves that all of them were there."""
    server.create(stream, "application/json")
    load = (server.port, count, 1, 0, server.pid, server.append_port)
    path = server.append_path(stream)
    with (
        held("fanout", *load, path, server.events_path(stream))
        if kind == "SSE readers"
        else held("longpoll", *load, path)
    ) as readers:
        yield readers
