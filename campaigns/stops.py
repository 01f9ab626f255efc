"""Stop 200 runs while producers, readers and gateways are killed, at random moments.

python -m campaigns.stops [--runs 200] [--orphan-after 5] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from campaigns import seeds
from tests.client.runs.stop_campaign import Size, broken, play

FULL = Size(runs=200, gateways=10, kills=2)


def main() -> int:
    """Play it and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FULL.runs, help="a multiple of 10")
    parser.add_argument("--orphan-after", type=int, default=FULL.orphan_after)
    options = seeds.seeded(parser)
    size = Size(options.runs, FULL.gateways, FULL.kills, options.orphan_after)
    found = asyncio.run(play(size))
    sys.stdout.write(
        f"{size.runs} runs, {dict(found.events)}: ends {dict(found.ends)}\n"
        f"readers were told {max(found.told_s, default=0.0):.1f} s after the last event, at most\n"
    )
    return seeds.told(broken(found, size))


if __name__ == "__main__":
    sys.exit(main())
