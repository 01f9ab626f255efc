"""Copies of many streams that are killed at random moments and repeated, from place to place.

python -m campaigns.copying [--streams 10000] [--kills 10] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import click

from tests.commands.copying import carried


def main() -> int:
    """Play the campaign; return 1 if a copy differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        legs, killed = asyncio.run(
            carried(Path(folder), options.streams, options.kills, options.seed, click.echo)
        )
    for leg in legs:
        verdict = f"differ: {leg.paths[:5]}" if leg.paths else "equal"
        click.echo(f"{leg.leg}: {leg.streams:,} streams, {len(leg.paths):,} unequal, {verdict}")
    click.echo(f"{killed} runs were killed")
    return int(any(leg.paths for leg in legs))


if __name__ == "__main__":
    sys.exit(main())
