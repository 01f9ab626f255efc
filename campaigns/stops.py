"""Stop 200 runs while producers, readers and gateways are killed, at random moments.

python -m campaigns.stops [--runs 200] [--orphan-after 5] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from tests.client.runs.stop_campaign import Size, broken, play

FULL = Size(runs=200, gateways=10, kills=2)


def main() -> int:
    """Play it and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--runs", type=int, default=FULL.runs, help="a multiple of 10")
    parser.add_argument("--orphan-after", type=int, default=FULL.orphan_after)
    options = parser.parse_args()
    random.seed(options.seed)
    sys.stdout.write(f"seed {options.seed}\n")
    size = Size(options.runs, FULL.gateways, FULL.kills, options.orphan_after)
    found = asyncio.run(play(size))
    sys.stdout.write(
        f"{size.runs} runs, {dict(found.events)}: ends {dict(found.ends)}\n"
        f"readers were told {max(found.told_s, default=0.0):.1f} s after the last event, at most\n"
    )
    complaints = broken(found, size)
    sys.stdout.writelines(f"BROKEN: {complaint}\n" for complaint in complaints)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
