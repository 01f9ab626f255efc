"""Many seeds of gateways on a simulated Redis, or the story of one.

python -m campaigns.redis_simulation [--seeds 1000] [--first 0] [--story]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from headgate_gateway.telemetry.logs import NAME
from tests.streams.simulation.run import run


def main() -> int:
    """Run the seeds; return 1 if one is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--story", action="store_true", help="tell what happened")
    asked = parser.parse_args()
    logging.getLogger(NAME).setLevel(logging.CRITICAL)
    began, bad = time.monotonic(), 0
    for seed in range(asked.first, asked.first + asked.seeds):
        world = run(seed)
        if asked.story:
            sys.stdout.write("\n".join(world.diary) + "\n")
        if world.faults:
            bad += 1
            sys.stdout.write(f"seed {seed}: {world}: {world.faults[0]}\n")
            sys.stdout.flush()
    took = time.monotonic() - began
    sys.stdout.write(f"{bad} of {asked.seeds} seeds are bad, {took:.1f} s\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
