"""A load whose memory is looked at, in a process of its own: `python -m … URL` prints JSON.

Streams of five chunks of 1 MiB are produced. The reader that came with each leaves after a random
chunk; then another one comes by way of Redis and reads from a random place to the end.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgate import ResumableStreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK, CHUNKS = 1 << 20, 5
INTERVAL_S = 0.3
STREAMS = 10  # at the same time


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


async def settled_mb() -> float:
    """Once everybody has gone, and with what is free given back to the system."""
    await asyncio.sleep(1.7 * INTERVAL_S)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps for later is no leak
    return resident_mb()


async def play(producer: ResumableStreams, other: ResumableStreams, stream_id: str) -> float:
    """Produce and read a stream; return the memory that was used meanwhile."""
    chance = random.Random(stream_id)
    lines = (f"{stream_id} {number}".ljust(1 << 10) for number in range(CHUNKS * CHUNK >> 10))
    text = "".join(lines)  # that is found nowhere else

    async def source() -> AsyncIterator[str]:
        for at in range(0, len(text), CHUNK):
            await asyncio.sleep(INTERVAL_S)
            yield text[at : at + CHUNK]

    creator = await producer.create(stream_id, source)
    for _ in range(chance.randint(1, CHUNKS - 1)):
        await anext(creator)
    await creator.aclose()
    at = chance.choice((0, chance.randrange(len(text))))
    resumed = await other.resume(stream_id, at)
    if resumed is not None:  # a busy machine comes too late
        assert "".join([piece async for piece in resumed]) == text[at:], stream_id
    used_mb = resident_mb()
    while await other.state(stream_id) != "done":
        await asyncio.sleep(0.05)
    return used_mb


async def main(url: str) -> None:
    async with ResumableStreams(url) as producer, ResumableStreams(url, resume_timeout=10) as other:
        before_mb = most_mb = 0.0
        for number in range(3):
            names = [f"{number} {each}" for each in range(STREAMS)]
            used = await asyncio.gather(*(play(producer, other, name) for name in names))
            before_mb = before_mb or await settled_mb()  # with connections and code
            most_mb = max(most_mb, *used)
        figures = {"before": before_mb, "most": most_mb, "after": await settled_mb()}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
