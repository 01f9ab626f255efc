"""Cached reads of what an origin has, with and without keep-alive."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.proxies import (
    HEADGATE,
    PLAIN_NGINX,
    HeadgateProxy,
    nginx_with_open_files,
    nginx_with_sendfile,
    plain_nginx,
)
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.proxies import Proxy
    from benchmarks.report import Verdict
    from benchmarks.rounds import Measured, Plan
    from benchmarks.tools import Figures

SIZES = {"200 B": 200, "9 KB": 9_000, "256 KB": 262_144}
CONNECTIONS = (1, 64, 256)
WARM_UP_MS = 300
REQUIRED = 1.2


class Mode(NamedTuple):
    """How the connections are used."""

    tool: str  # the load tool's word for it
    label: str


KEPT = Mode("get", "kept")
# Not judged: nginx takes connections for less, and without keep-alive the tool pays more for one
# than either server does. Requests per second would speak of the tool.
NEW = Mode("fresh", "new")
MODES = (KEPT, NEW)


class Cell(NamedTuple):
    """One load."""

    mode: Mode
    size: str
    connections: int

    def __str__(self) -> str:
        return f"{self.mode.label}, {self.size} x {self.connections}"


CELLS = [Cell(mode, size, many) for mode in MODES for size in SIZES for many in CONNECTIONS]


def bench(plan: Plan) -> Section:
    """Headgate's cache against nginx's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, length in SIZES.items():
            (folder / size).write_bytes(b"x" * length)

        def measure(server: Proxy) -> Iterator[tuple[str, Figures]]:
            for size, length in SIZES.items():
                server.create(_stream(size), "text/plain", b"x" * length)
                _read(server, Cell(KEPT, size, 8), folder, WARM_UP_MS)
            for cell in CELLS:

                def once(cell: Cell = cell) -> Figures:
                    return _read(server, cell, folder, plan.milliseconds // 3)

                yield str(cell), undisturbed(once)

        found = medians(
            plan,
            [HeadgateProxy, plain_nginx, nginx_with_open_files, nginx_with_sendfile],
            measure,
        )
    return Section(
        title="cached reads from an origin",
        columns=(
            Column("per_s", "reads/s"),
            Column("per_cpu_s", "reads/cpu s"),
            *DELAYS,
            *CORES,
        ),
        servers=found,
        verdicts=[_verdict(cell, found) for cell in CELLS if cell.mode is KEPT],
    )


def _stream(size: str) -> str:
    return f"hit-{SIZES[size]}"


def _read(server: Proxy, cell: Cell, folder: Path, milliseconds: int) -> Figures:
    load = (cell.mode.tool, server.port, cell.connections, milliseconds, server.pid)
    path = f"/v1/stream/{_stream(cell.size)}?offset=-1"
    figures = run("load", *load, folder / cell.size, path)
    return {**figures, "per_cpu_s": figures["per_s"] / figures["server_cpu"]}


def _verdict(cell: Cell, found: dict[str, Measured]) -> Verdict:
    ratio = found[HEADGATE][str(cell)]["per_s"] / found[PLAIN_NGINX][str(cell)]["per_s"]
    return at_least(f"{cell}: reads/s, headgate / nginx", ratio, REQUIRED)
