"""A process of an application that produces many runs: `python -m tests.client.runs.producer`.

It reads the ids of runs from its stdin, a line each, and produces them until it is killed or its
stdin ends. A run counts: its items are the numbers from 0 on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from typing import TYPE_CHECKING

from headgate.runs import Runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def numbers(count: int, pause_s: float) -> AsyncIterator[dict[str, int]]:
    """One number after the other, with a pause between them, which is so long on average."""
    for number in range(count):
        yield {"n": number}
        await asyncio.sleep(random.uniform(0, 2 * pause_s))


async def produce(url: str, orphan_after: int, count: int, pause_s: float) -> None:
    """Produce each run that is named, until no more are."""
    async with Runs(url, orphan_after=orphan_after) as runs:
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            await runs.start(line, numbers(count, pause_s), format="sse")
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    logging.getLogger("headgate.runs").setLevel(logging.ERROR)  # runs are taken over here, often
    asyncio.run(produce(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
