"""A load whose memory is looked at, in a process of its own: `python -m … URL` prints JSON.

Streams of five chunks of 1 MiB are produced. The reader that came with each leaves at a random
chunk; another one comes by way of Redis at a random time, to a random place, and leaves at a random
chunk or stays to the end. What they read is compared.
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

    from headgate.resumable.messages import Text

CHUNK, CHUNKS = 1 << 20, 5
INTERVAL_S = 0.3
STREAMS = 10  # at the same time


def chunk(stream_id: str, number: int) -> str:
    """Text that is found nowhere else."""
    words = f"{stream_id} {number} "
    return (words * (CHUNK // len(words) + 1))[:CHUNK]


async def settled_mb() -> float:
    """Once everybody has gone, and with what is free given back to the system."""
    await asyncio.sleep(1.7 * INTERVAL_S)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps for later is no leak
    return resident_mb()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


async def read(stream_id: str, text: Text, at: int, leaves: int) -> None:
    """Each piece is a chunk, or the rest of one, perhaps with the next."""
    async for piece in text:
        expected = chunk(stream_id, at // CHUNK)[at % CHUNK :]
        if len(piece) > len(expected):
            expected += chunk(stream_id, at // CHUNK + 1)
        assert piece == expected, f"other text at {at} of {stream_id!r}"
        at += len(piece)
        leaves -= 1
        if leaves == 0:
            await text.aclose()
            return
    assert at == CHUNK * CHUNKS, f"{stream_id!r} ended at {at}"


async def play(producer: ResumableStreams, other: ResumableStreams, stream_id: str) -> float:
    """Produce and read a stream; return the memory that was used meanwhile."""
    chance = random.Random(stream_id)

    async def source() -> AsyncIterator[str]:
        for number in range(CHUNKS):
            await asyncio.sleep(INTERVAL_S)
            yield chunk(stream_id, number)

    creator = await producer.create(stream_id, source)
    reading = asyncio.create_task(read(stream_id, creator, 0, chance.randint(1, CHUNKS + 1)))
    await asyncio.sleep(chance.random() * 0.8 * CHUNKS * INTERVAL_S)
    at = chance.choice((0, chance.randrange(CHUNK * CHUNKS)))
    resumed = await other.resume(stream_id, at)
    if resumed is not None:  # a busy machine comes too late
        await read(stream_id, resumed, at, chance.randint(1, CHUNKS + 1))
    await reading
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
