"""Play runs while producers, readers and servers fail at random, at full size.

python -m campaigns.runs [--rounds 3] [--server SERVER] [--spare SECONDS] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace

from campaigns import seeds
from tests.client.runs.campaign import SERVERS, Size, play

# Each round takes two minutes with each pair of servers.
FULL = Size(45, 4, outages=4, longest_outage_s=25.0, play_s=70.0, orphan_after=5, spare_s=10.0)
AT_ONCE = 2  # servers


def main() -> int:
    """Play it and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, help="one of these, else all")
    parser.add_argument("--spare", type=float, default=FULL.spare_s, help="on a busy machine")
    options = seeds.seeded(parser)
    size = replace(FULL, spare_s=options.spare)
    servers = SERVERS if options.server is None else (options.server,)
    complaints: list[str] = []
    for first in [*range(0, len(servers), AT_ONCE)] * options.rounds:
        began = time.monotonic()
        found = asyncio.run(play(servers[first : first + AT_ONCE], size))
        sys.stdout.write(
            f"{', '.join(servers[first : first + AT_ONCE])}: {dict(found.moves)}, "
            f"ends {dict(found.ends)}, at most {max(found.last_end_s):.1f} s after the last move, "
            f"{time.monotonic() - began:.0f} s\n"
        )
        complaints += found.broken
    return seeds.told(complaints)


if __name__ == "__main__":
    sys.exit(main())
