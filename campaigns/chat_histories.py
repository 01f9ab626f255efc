"""Play random histories of chats over several replicas for minutes.

python -m campaigns.chat_histories [--seconds 300] [--seed SEED]
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from campaigns.seeds import seeded
from tests.client.runs.chat_histories import play

FULL_S = 300.0


def main() -> int:
    """Play it, and say what came of it; a promise that is not kept is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=FULL_S)
    options = seeded(parser)
    seen = asyncio.run(play(options.seed, for_s=options.seconds))
    sys.stdout.write(f"{dict(seen)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
