"""Runs whose producers are killed and whose readers are cut, at full size, on both servers.

python -m campaigns.runs [--rounds 5] [--server SERVER] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace

from campaigns import seeds
from tests.client.runs.campaign import SERVERS, Size, broken, percentile, play

# A kill takes its process's start and the time until its runs are orphaned, about 15 s together.
# One after the other they would take a quarter of an hour.
FULL = Size(runs=200, processes=10, kills=50, cuts=500, long=100_000, orphan_after=5)
STOPPED_WITHIN_S = 0.1  # p99, on a machine that does nothing else
STATE_WITHIN_S = 1.0  # the median of a long run, on the same


def main() -> int:
    """Play it and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=FULL.kills // FULL.processes,
        help=f"of {FULL.processes} kills, and 10 cuts for each",
    )
    parser.add_argument("--server", choices=SERVERS, help="one of the two, else both")
    options = seeds.seeded(parser)
    kills = options.rounds * FULL.processes
    size = replace(FULL, kills=kills, cuts=10 * kills)
    servers = SERVERS if options.server is None else (options.server,)
    return max([tell(server, size) for server in servers])


def tell(server: str, size: Size) -> int:
    """Play it with one server, and say what was found; 1 when a promise was broken."""
    began = time.monotonic()
    found = asyncio.run(play(size, server))
    stops_ms = [1000 * stop for stop in found.stops_s]
    median, worst = (percentile(stops_ms, share) for share in (0.5, 0.99))
    state_ms = 1000 * percentile(found.states_s, 0.5)
    sys.stdout.write(
        f"{server}: {found.kills} kills, {found.cuts} cuts, ends: {found.ends}\n"
        f"{found.lost} runs whose streams were deleted\n"
        f"the state of a run of {size.long:,} items takes {state_ms:.1f} ms\n"
        f"stops are known after {median:.1f} ms, p99 {worst:.1f} ms\n"
        f"{time.monotonic() - began:.0f} s\n"
    )
    return seeds.told(broken(found, size, STOPPED_WITHIN_S, STATE_WITHIN_S))


if __name__ == "__main__":
    sys.exit(main())
