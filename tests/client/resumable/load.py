"""The load of the stress on this library, in a process whose memory is looked at from outside.

`python -m tests.client.resumable.load URL STREAMS SECONDS [INTERVAL]` produces so many streams at
any time, each of 1 MB in chunks 50 ms apart. The reader that came with each leaves after a random
chunk, comes back by way of Redis, and reads to the end. What it reads is compared. The process
prints `ready`. For each line that it then gets it plays the load, and prints what it counted as
JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

from headgate import ResumableStreams, StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.resumable.messages import Text

LINE = 64  # of text that is found nowhere else
CHUNK, CHUNKS = 10 * 1024, 100
INTERVAL_S = 0.05
MOST_BEFORE = 80  # chunks until the reader leaves
MOST_PAUSE = 10  # intervals between chunks, until the reader is back
ANSWER_WITHIN_S = 10.0  # on a busy machine


def chunk(stream_id: str, number: int) -> str:
    lines = range(number * CHUNK // LINE, (number + 1) * CHUNK // LINE)
    return "".join(f"{stream_id} {line}".ljust(LINE) for line in lines)


def text(stream_id: str, begin: int, end: int) -> str:
    """Return that part of a stream's text."""
    chunks = range(begin // CHUNK, -(-end // CHUNK))
    joined = "".join(chunk(stream_id, number) for number in chunks)
    return joined[begin % CHUNK :][: end - begin]


class Load:
    """Two replicas of an application, and what went on between them."""

    def __init__(self, url: str, interval_s: float) -> None:
        self.producer = ResumableStreams(url)
        self.other = ResumableStreams(url, resume_timeout=ANSWER_WITHIN_S)
        self.interval_s = interval_s
        self.created = 0
        self.seen: Counter[str] = Counter()

    async def run(self, streams: int, seconds: float) -> None:
        self.seen.clear()
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for slot in range(streams):
                group.create_task(self._slot(slot, until))

    async def _slot(self, slot: int, until: float) -> None:
        chance = random.Random(slot)
        await asyncio.sleep(chance.random() * CHUNKS * self.interval_s)
        is_first = True
        while is_first or asyncio.get_running_loop().time() < until:
            is_first = False
            self.created += 1
            self.seen["streams"] += 1
            stream_id = f"python {self.created}"
            try:
                await self._play(stream_id, chance)
            except StreamError:
                self.seen["errors"] += 1

    async def _play(self, stream_id: str, chance: random.Random) -> None:
        creator = await self.producer.create(stream_id, lambda: self._source(stream_id))
        at = await self._read(stream_id, creator, 0, chance.randint(1, MOST_BEFORE) * CHUNK)
        await asyncio.sleep(chance.random() * MOST_PAUSE * self.interval_s)
        resumed = await self.other.resume(stream_id, at)
        if resumed is None:
            self.seen["too late"] += 1
            return
        self.seen["resumed"] += 1
        at = await self._read(stream_id, resumed, at, math.inf)
        assert at == CHUNK * CHUNKS, f"{stream_id!r} ended at {at}"
        self.seen["read to the end"] += 1

    async def _source(self, stream_id: str) -> AsyncIterator[str]:
        for number in range(CHUNKS):
            await asyncio.sleep(self.interval_s)
            yield chunk(stream_id, number)

    async def _read(self, stream_id: str, read: Text, at: int, leaves: float) -> int:
        """Read up to a place, and return the place."""
        async with contextlib.aclosing(read):
            async for piece in read:
                assert piece == text(stream_id, at, at + len(piece)), f"other text at {at}"
                at += len(piece)
                self.seen["bytes read"] += len(piece)
                if at >= leaves:
                    break
        return at


async def main(url: str, streams: int, seconds: float, interval_s: float) -> None:
    load = Load(url, interval_s)
    async with load.producer, load.other:
        await load.producer.state("a"), await load.other.state("a")  # they connect
        say("ready")
        while await asyncio.to_thread(sys.stdin.readline):
            await load.run(streams, seconds)
            say(json.dumps(load.seen))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    url, streams, *times = sys.argv[1:]
    seconds, interval_s = (*map(float, times), INTERVAL_S)[:2]
    asyncio.run(main(url, int(streams), seconds, interval_s))
