"""Stop gateways of one Redis again and again, and print how late events were then.

python -m campaigns.standstills [--rounds 200] [--pairs 4] [--seed 1] [--before-origins]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path

import click

from tests.subscriptions.standstills import play


def main() -> None:
    """Play a campaign, and print how late events were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = play(Path(folder), chosen.rounds, chosen.pairs, chosen.seed)
        played = asyncio.run(campaign)
    found = sorted((it for one in played for it in one.rounds), reverse=True)
    click.echo(f"{len(found)} rounds, {sum(one.appends for one in played)} appends")
    for one in found[:12]:
        click.echo(f"{one.late_s:7.2f} s late: {one.event}; stopped {one.stopped}")
    late = [one.late_s for one in found]
    click.echo(f"median {late[len(late) // 2]:.3f} s; load {' '.join(map(str, os.getloadavg()))}")
    counts: dict[str, int] = {}
    for pair in played:
        for name, number in pair.answers.items():
            counts[name] = counts.get(name, 0) + number
    click.echo(json.dumps(dict(sorted(counts.items()))))


if __name__ == "__main__":
    main()
