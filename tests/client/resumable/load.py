"""The load of the stress on this library, in a process whose memory is looked at.

`python -m tests.client.resumable.load URL STREAMS SECONDS [INTERVAL]` prints a line of JSON. So
many streams are produced at any time, each of five chunks of 1 MiB, three seconds apart. The reader
that came with each leaves at a random chunk; two others come by way of Redis at random times, to
random places, and leave at random chunks or stay to the end. What they read is compared. What a
machine that is too slow for this has not brought to its end LATE_S after its time is given up.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from headgate import ResumableStreams, StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.resumable.messages import Text

CHUNK = 1 << 20
CHUNKS = 5
INTERVAL_S = 3.0
VISITORS = 2
WARM_UP = 0.1  # of the time, so that connections, code and buffers of sockets are there before
SETTLE = 1.7  # intervals
LATE_S = 120.0
ANSWER_WITHIN_S = 10.0  # on a busy machine


def chunk(stream_id: str, number: int) -> str:
    """Text that is found nowhere else."""
    words = f"{stream_id} {number} "
    return (words * (CHUNK // len(words) + 1))[:CHUNK]


async def source(stream_id: str) -> AsyncIterator[str]:
    for number in range(CHUNKS):
        await asyncio.sleep(INTERVAL_S)
        yield chunk(stream_id, number)


async def settled_mb() -> float:
    """Once everybody has gone, and with what is free given back to the system."""
    await asyncio.sleep(SETTLE * INTERVAL_S)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps for later is no leak
    return resident_mb()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


class Load:
    """Two replicas of an application, and what went on between them."""

    def __init__(self, url: str) -> None:
        self.producer = ResumableStreams(url)
        self.other = ResumableStreams(url, resume_timeout=ANSWER_WITHIN_S)
        self.seen: Counter[str] = Counter()
        self.most_mb = 0.0

    async def run(self, streams: int, seconds: float, run: str) -> None:
        until = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(until + LATE_S), asyncio.TaskGroup() as group:
                for slot in range(streams):
                    group.create_task(self._slot(f"{run} {slot}", until))
        except TimeoutError:
            self.seen["given up"] += 1
            await self.producer.aclose()  # what it still produces, too

    async def _slot(self, name: str, until: float) -> None:
        loop = asyncio.get_running_loop()
        chance = random.Random(name)
        await asyncio.sleep(chance.random() * CHUNKS * INTERVAL_S)
        while loop.time() < until:
            try:
                await self._stream(f"{name} {self.seen['streams']}", chance)
            except* StreamError as errors:
                self.seen["errors"] += len(errors.exceptions)
            self.most_mb = max(self.most_mb, resident_mb())

    async def _stream(self, stream_id: str, chance: random.Random) -> None:
        self.seen["streams"] += 1
        creator = await self.producer.create(stream_id, lambda: source(stream_id))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(stream_id, creator, 0, chance.randint(1, CHUNKS + 1)))
            for _ in range(VISITORS):
                comes_s = chance.random() * CHUNKS * INTERVAL_S
                at = chance.choice((0, chance.randrange(CHUNK * CHUNKS)))
                group.create_task(
                    self._visit(stream_id, comes_s, at, chance.randint(1, CHUNKS + 1))
                )

    async def _visit(self, stream_id: str, comes_s: float, at: int, leaves: int) -> None:
        await asyncio.sleep(comes_s)
        text = await self.other.resume(stream_id, at)
        if text is None:
            self.seen["too late"] += 1
        else:
            self.seen["resumed"] += 1
            await self._read(stream_id, text, at, leaves)

    async def _read(self, stream_id: str, text: Text, at: int, leaves: int) -> None:
        """Each piece is a chunk, or the rest of one, perhaps with the next."""
        async for piece in text:
            expected = chunk(stream_id, at // CHUNK)[at % CHUNK :]
            if len(piece) > len(expected):
                expected += chunk(stream_id, at // CHUNK + 1)
            assert piece == expected, f"other text at {at} of {stream_id!r}"
            at += len(piece)
            self.seen["read_mb"] += len(piece) // 1_000_000
            leaves -= 1
            if leaves == 0:
                self.seen["left"] += 1
                await text.aclose()
                return
        assert at == CHUNK * CHUNKS, f"{stream_id!r} ended at {at}"
        self.seen["to the end"] += 1

    async def aclose(self) -> None:
        await self.producer.aclose()
        await self.other.aclose()


async def main(url: str, streams: int, seconds: float) -> None:
    load = Load(url)
    await load.run(streams, max(CHUNKS * INTERVAL_S, WARM_UP * seconds), "warm-up")
    before_mb = await settled_mb()
    load.seen.clear()
    await load.run(streams, seconds, "run")
    after_mb = await settled_mb()
    told = {"before_mb": before_mb, "most_mb": load.most_mb, "after_mb": after_mb, **load.seen}
    sys.stdout.write(json.dumps(told) + "\n")
    await load.aclose()


if __name__ == "__main__":
    INTERVAL_S = float(sys.argv[4]) if len(sys.argv) > 4 else INTERVAL_S
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
