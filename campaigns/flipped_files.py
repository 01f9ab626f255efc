"""Flip bits of a data file at random, and name the flips that a verification misses.

python -m campaigns.flipped_files [--flips 5000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from headgate_gateway.telemetry.logs import NAME
from tests.logs.flipped_files import flips


async def campaign(number: int, seed: int) -> int:
    """Play it, and return how many flips were missed."""
    with tempfile.TemporaryDirectory() as folder:
        found = await flips(Path(folder), number, seed)
    missed = [flip for flip in found if flip.outcome == "MISSED"]
    for flip in missed:
        sys.stdout.write(f"{flip}\n")
    for outcome, times in Counter(flip.outcome for flip in found).most_common():
        sys.stdout.write(f"{times:6} {outcome}\n")
    return len(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.getLogger(NAME).setLevel(logging.CRITICAL)
    sys.exit(min(1, asyncio.run(campaign(given.flips, given.seed))))
