"""`python -m campaigns.principals`: nobody gets what is another's, of a million mixed requests."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import uvloop

from tests.access.crossed import crossed


@click.command()
@click.option("--requests", default=1_000_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(requests: int, seed: int) -> None:
    """Mix the requests of fifty principals; the exit status tells whether an answer was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(crossed(Path(folder), requests, seed))
    click.echo(f"{found.asked:,} requests, {found.allowed:,} allowed, {len(found.crossed)} wrong")
    for one in found.crossed[:20]:
        click.echo(one)
    sys.exit(1 if found.crossed else 0)


if __name__ == "__main__":
    main()
