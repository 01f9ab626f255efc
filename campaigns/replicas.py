"""Let the only replica of a Redis go and come: `python -m campaigns.replicas [--rounds 200]`.

The Redis takes writes only with this replica. Eight writers and 200 readers must lose nothing, no
read may be refused, and none may say that it is up to date if it is not. In a fifth of the rounds
the primary fails over to the replica and back; only then reads may be refused.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.faults.redis_replicas import go_and_come, replicated


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=200)
@click.option("--seed", type=int, help="Repeat an earlier run's choices.")
def main(rounds: int, seed: int | None) -> None:
    """Print what was found; the exit status tells whether all held."""
    seed = random.randrange(1 << 32) if seed is None else seed
    with (
        tempfile.TemporaryDirectory(prefix="headgate-replicas-") as folder,
        replicated(Path(folder)) as (primary, replica),
    ):
        report = asyncio.run(go_and_come(primary, replica, rounds, seed))
    click.echo(f"replicas: {report}")
    for note in () if report.is_clean() else report.faults.notes:
        click.echo(f"replicas: {note}", err=True)
    sys.exit(0 if report.is_clean() else 1)


if __name__ == "__main__":
    main()
