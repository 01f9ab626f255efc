"""Kill the processes of runs at any moment, and let others take the runs over.

python -m campaigns.takeovers [--kills 200] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from campaigns.seeds import seeded
from tests.client.runs.takeover_campaign import check, killed_again_and_again
from tests.support.processes import headgate

KILLS_OF_A_RUN = 5


async def campaign(url: str, kills: int) -> int:
    """Kill so many processes; return how many steps were begun anew."""
    begun_anew = 0
    for _ in range(0, kills, KILLS_OF_A_RUN):
        begun_anew += check(await killed_again_and_again(url, KILLS_OF_A_RUN))
    return begun_anew


def main() -> None:
    """Play it, and print how many steps were begun anew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    told = seeded(parser)
    with headgate() as server:
        begun_anew = asyncio.run(campaign(f"{server.streams}/takeovers", told.kills))
    sys.stdout.write(f"{told.kills} kills: each step whole, {begun_anew} begun anew\n")


if __name__ == "__main__":
    main()
