"""Back up a folder again and again while its server takes appends; some backups are killed.

python -m campaigns.backups_under_load [--backups 20] [--kills 40] [--fill 256]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.logs.backups_under_load import play


async def campaign(backups: int, kills: int, megabytes: int, seed: int) -> None:
    """Play it, and print how long appends and backups took."""
    with tempfile.TemporaryDirectory() as name:
        found = await play(Path(name), backups=backups, kills=kills, megabytes=megabytes, seed=seed)
    say = [f"{found.rate:,.0f} appends a second; backups took {max(found.took):.1f} s at most"]
    for what, took in (("without", found.without), ("beside a backup", found.beside)):
        p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
        say.append(
            f"appends {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {took[-1] * 1000:.1f} ms"
        )
    say.append(f"{found.kills} of {kills} backups were killed before they had a name")
    sys.stdout.write("\n".join([*say, ""]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=20)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--fill", type=int, default=256, help="megabytes before the first backup")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(campaign(given.backups, given.kills, given.fill, given.seed))
