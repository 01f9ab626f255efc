"""Memory after five minutes of resumable streams: `python -m benchmarks.resumable`.

This library and npm's resumable-stream play the same load (tests/client/resumable/load.py) at the
same time, on one Redis, each in a process of its own: 100 streams at any time, each of 1 MB in
chunks 50 ms apart, whose reader leaves and comes back. Resident memory is what `top` shows: before
the load, at its peak, and after a minute in which nothing happens. Neither process is made to trim
or to collect anything until then; what a collection changes in Node.js is a row of its own. The
exit status is 1 if this library's memory does not return to within 10 MB of its start.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tests.client.resumable.stress import OURS, LoadedProcess, loaded
from tests.support.processes import NODE, ROOT
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_GROWTH_MB = 10.0
NPM = (str(NODE), "--expose-gc", "tests/node/resumable_load.mjs")
PACKAGE = ROOT / "tests/node/node_modules/resumable-stream/package.json"
# By default Redis closes a connection that is read too slowly for 32 MB: not what this is about.
UNLIMITED = {"client-output-buffer-limit": "pubsub 0 0 0"}
COUNTS = {
    "streams": "streams",
    "resumed": "readers that came back",
    "read to the end": "… and read to the end",
    "too late": "… and came too late",
    "never ended": "… and never ended",
    "errors": "errors",
    "bytes read": "bytes read",
}


class Figures(NamedTuple):
    """What a load comes to, in MB and in counts."""

    start: float
    peak: float
    idle: float
    collected: float | None
    counts: Mapping[str, int]


def settle(load: LoadedProcess, counts: Mapping[str, int], *, collects: bool) -> Figures:
    """Look at the memory after the pause, and after a collection of Node.js."""
    idle, collected = load.resident_mb(), None
    if collects:
        load.go_on()
        assert load.line() == "collected"
        collected = load.resident_mb()
    return Figures(load.start_mb, load.peak_mb, idle, collected, counts)


def side_by_side(
    streams: int, seconds: float, interval_s: float, idle_s: float
) -> tuple[Figures, Figures]:
    """Play both loads at the same time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder), **UNLIMITED) as redis,
        loaded(OURS, redis.url, streams, seconds, interval_s) as ours,
        loaded(NPM, redis.url, streams, seconds, interval_s) as npm,
        ThreadPoolExecutor() as both,
    ):
        counts, npm_counts = both.map(LoadedProcess.run, (ours, npm))
        time.sleep(idle_s)
        return settle(ours, counts, collects=False), settle(npm, npm_counts, collects=True)


def table(ours: Figures, npm: Figures, idle_s: float) -> str:
    """Return both as Markdown."""
    version = json.loads(PACKAGE.read_text())["version"]
    rows = [
        ("resident before, MB", ours.start, npm.start),
        ("at the peak", ours.peak, npm.peak),
        (f"after {idle_s:g} s without a stream", ours.idle, npm.idle),
        ("… more than before", ours.idle - ours.start, npm.idle - npm.start),
        ("… after `global.gc()`", ours.collected, npm.collected),
        *((name, ours.counts.get(key, 0), npm.counts.get(key, 0)) for key, name in COUNTS.items()),
    ]
    lines = [f"| | headgate-client | resumable-stream {version} |", "| --- | --- | --- |"]
    lines += [f"| {name} | {_shown(first)} | {_shown(second)} |" for name, first, second in rows]
    return "\n".join(lines)


def _shown(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:,.0f}"


@click.command(help=__doc__)
@click.option("--streams", default=100, show_default=True, help="At the same time.")
@click.option("--seconds", default=300.0, show_default=True, help="Of the load.")
@click.option("--interval", default=0.05, show_default=True, help="Seconds from chunk to chunk.")
@click.option("--idle", default=60.0, show_default=True, help="Seconds after it.")
def main(streams: int, seconds: float, interval: float, idle: float) -> None:
    """Print the table."""
    ours, npm = side_by_side(streams, seconds, interval, idle)
    click.echo(table(ours, npm, idle))
    sys.exit(0 if ours.idle - ours.start <= MOST_GROWTH_MB else 1)


if __name__ == "__main__":
    main()
