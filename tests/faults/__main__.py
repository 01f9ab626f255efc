"""The long runs: `python -m tests.faults --kills 1000` and `python -m tests.faults --memory`."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.faults.memory import Load, measure
from tests.faults.torture import restartable, torture

LOAD = Load(readers=5000, silent=500, content_bytes=100_000_000)
BOUND_BYTES = 150_000_000


@click.command()
@click.option("--kills", type=click.IntRange(min=0), default=0, help="Kill a loaded server.")
@click.option("--seed", type=int, help="Repeat an earlier run's choices.")
@click.option("--memory", is_flag=True, help="Measure 5,000 readers, 500 of whom never read.")
def main(kills: int, seed: int | None, memory: bool) -> None:
    """Run what takes too long for every change; the exit status tells whether it held."""
    held = True
    with tempfile.TemporaryDirectory(prefix="headgate-faults-") as folder:
        if kills:
            seed = random.randrange(1 << 32) if seed is None else seed
            held &= _torture(Path(folder) / "torture", kills, seed)
        if memory:
            held &= _measure(Path(folder))
    sys.exit(0 if held else 1)


def _torture(folder: Path, kills: int, seed: int) -> bool:
    click.echo(f"torture: {kills} kills, seed {seed}")
    server = restartable(f"file:{folder}", HEADGATE_LONG_POLL_TIMEOUT="2")
    try:
        report = asyncio.run(torture(server, kills, seed))
    finally:
        server.kill()
    click.echo(f"torture: {report}")
    for note in report.faults.notes:
        click.echo(f"torture: {note}", err=True)
    return report.faults.total == 0


def _measure(folder: Path) -> bool:
    click.echo(f"memory: {LOAD}, bound {BOUND_BYTES >> 20}MiB")
    cost = measure(LOAD, folder)
    click.echo(f"memory: {cost}")
    complete = min(cost.live.complete, cost.herd.complete)
    return complete == LOAD.readers - LOAD.silent and cost.growth_bytes < BOUND_BYTES


if __name__ == "__main__":
    main()
