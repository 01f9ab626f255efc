"""`python -m campaigns.cardinality`: 100,000 made-up names must add no series."""

from __future__ import annotations

import sys

import click
import uvloop

from tests.telemetry.cardinality import new_series


@click.command()
@click.option("--names", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(names: int, seed: int) -> None:
    """Send requests that no two are alike; the exit status tells whether they added series."""
    added = uvloop.run(new_series(names, seed))
    click.echo(f"{names:,} requests with made-up names: {len(added)} new series")
    for one in sorted(added)[:20]:
        click.echo(one)
    sys.exit(1 if added else 0)


if __name__ == "__main__":
    main()
