"""Play 200 outages of gateways under runs whose producers live.

python -m campaigns.outages [--outages 200] [--orphan-after SECONDS] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from headgate.records import ORPHAN_AFTER_S

from campaigns import seeds
from tests.client.runs.outage_campaign import Size, broken, play

FULL = Size(outages=200, servers=8, runs=25)


def main() -> int:
    """Play it and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outages", type=int, default=FULL.outages, help="a multiple of 8")
    parser.add_argument("--orphan-after", type=int, default=ORPHAN_AFTER_S)
    options = seeds.seeded(parser)
    size = replace(FULL, outages=options.outages, orphan_after=options.orphan_after)
    found = asyncio.run(play(size))
    lost = len(found.ends) - found.ends.count("finished")
    sys.stdout.write(
        f"{found.outages} outages, {found.looks} looks, orphan_after={size.orphan_after}: "
        f"{lost} of {len(found.ends)} runs ended by others\n"
        f"leases are held again after {max(found.back_s):.1f} s at most\n"
    )
    return seeds.told(broken(found, size))


if __name__ == "__main__":
    sys.exit(main())
