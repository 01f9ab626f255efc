"""Fuzz chats with random chunks of UI messages, 3,000 times.

python -m campaigns.chunk_fuzz [--count 3000] [--seed FIRST]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.client.runs.chunk_fuzz import play

FULL = 3_000  # sequences


def main() -> int:
    """Play it and say what was found; 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--count", type=int, default=FULL)
    options = parser.parse_args()
    sys.stdout.write(f"seeds from {options.seed} on\n")
    found = asyncio.run(play(range(options.seed, options.seed + options.count)))
    sys.stdout.writelines(f"{complaint}\n" for complaint in found)
    sys.stdout.write(f"{options.count} chats, {len(found)} differences\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
