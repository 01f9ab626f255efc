"""Random histories of model routes against a provider whose every answer is known beforehand.

    python -m campaigns.model_histories [--log file|memory|redis] [--seconds 60] [--seed 1]

Clients ask, join, leave, come back, follow, cancel and delete while gateways are killed, stopped
and paused. Each promise of docs/models.md and docs/views.md about what they get
is judged.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.models.histories.campaign import campaign


def main() -> int:
    """Play histories as the arguments say; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", choices=("file", "memory", "redis"), action="append")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = []
    for log in options.log or ("file", "memory", "redis"):
        with tempfile.TemporaryDirectory() as folder:
            wrong += asyncio.run(campaign(log, options.seconds, options.seed, Path(folder)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
