"""What a writer says is in a stream against what is, with a hostile way to the server.

Each seed is a history: chunks of all sizes, written, flushed, waited for, cancelled and ended at
any moment, while requests are lost before or after the server has them, refused, or late.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import headgate
from headgate import StreamWriter

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.writing import JSON, OCTETS, TEXT, data, is_closed, made, messages
from tests.support.serving import serving

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.serving import Serving

MOST_CHUNKS = 60
MAX_APPEND = 1000  # so that some batches are sent in parts
LONGEST = 300  # characters of a chunk, of two bytes most of them
LATEST_S = 0.004
AT_ONCE = 16


@dataclass(slots=True)
class History:
    """One writer on one stream: what was taken, in order, and how it ended."""

    seed: int
    chance: random.Random = field(init=False)
    content_type: str = field(init=False)
    taken: list[str] = field(default_factory=list)
    acknowledged: int = 0
    is_whole: bool = False  # all that was taken must be there
    is_ended: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.content_type = self.chance.choice((JSON, JSON, TEXT, OCTETS))

    async def fate(self, request: web.Request) -> Fate:
        """Of a request on the way."""
        await asyncio.sleep(self.chance.choice((0, 0, LATEST_S * self.chance.random())))
        # Too long and perhaps stored, a batch cannot be sent in parts: that ends a writer.
        if request.method == "PUT" or (request.content_length or 0) > MAX_APPEND:
            return Fate.PASSED
        harm = (Fate.LOST, Fate.LOST_AFTER, Fate.REFUSED, Fate.FAILED_AFTER)
        return self.chance.choice(harm) if self.chance.random() < 0.25 else Fate.PASSED

    def writer(self, url: str) -> StreamWriter:
        """With limits that are met in a short history."""
        chance = self.chance
        return StreamWriter(
            url,
            flush_interval=chance.choice((0, 0.001, 0.010)),
            max_batch_chunks=chance.randint(1, 20),
            max_batch_bytes=chance.randint(1, 4 * MAX_APPEND),
            max_buffer_bytes=chance.randint(1, 8 * MAX_APPEND),
        )

    async def play(self, url: str) -> None:
        """Write, and end one way or the other."""
        chance = self.chance
        ending = chance.choice(("aclose", "end", "abort", "leave"))
        async with self.writer(url) as writer:
            for number in range(chance.randint(0, MOST_CHUNKS)):
                await self._write(
                    writer, f"{number}:" + "é" * int(chance.paretovariate(0.5) % LONGEST)
                )
                await self._pause(writer)
            if ending != "leave":
                await getattr(writer, ending)()
        self.acknowledged = writer.acknowledged
        self.is_whole = ending != "abort"
        self.is_ended = ending == "end"

    async def _write(self, writer: StreamWriter, chunk: str) -> None:
        """Write, or give up waiting for room; what is written is then known to be taken or not."""
        if self.chance.random() < 0.2:
            with suppress(TimeoutError):
                async with asyncio.timeout(LATEST_S * self.chance.random()):
                    await writer.write(chunk)
                self.taken.append(chunk)
            return
        await writer.write(chunk)
        self.taken.append(chunk)

    async def _pause(self, writer: StreamWriter) -> None:
        drawn = self.chance.random()
        if drawn < 0.1:
            await writer.flush()
            assert writer.acknowledged == len(self.taken), self
        elif drawn < 0.4:
            await asyncio.sleep(LATEST_S * self.chance.random())

    async def check(self, url: str) -> None:
        """Read back: in order, once each; all of it, or at least what was acknowledged."""
        if self.content_type == JSON:
            found = [str(message) for message in await messages(url)]
            there = len(found)
            assert found == self.taken[:there], self
        else:
            text = (await data(url)).decode()
            assert "".join(self.taken).startswith(text), self
            there = _chunks_in(text, self.taken)
        assert self.acknowledged <= there, self
        if self.is_whole:
            assert self.acknowledged == there == len(self.taken), self
        assert await is_closed(url) == self.is_ended, self


def _chunks_in(text: str, chunks: list[str]) -> int:
    """How many chunks the text is made of."""
    count, size = 0, 0
    for chunk in chunks:
        if size == len(text):
            break
        size += len(chunk)
        count += 1
    assert size == len(text), "a chunk is there by half"
    return count


async def play(gateway: Serving, seed: int) -> History:
    """One history on a stream of its own."""
    history = History(seed)
    async with RequestProxy(gateway.port, history.fate) as way:
        url = await made(way.url, history.content_type)
        await history.play(url)
        base = f"http://127.0.0.1:{gateway.port}"
        await history.check(base + url.removeprefix(way.url))
    return history


async def campaign(seeds: range) -> int:
    """Play them all, some at a time since most of a history is waiting; how many chunks went."""
    written = 0
    left = iter(seeds)
    async with serving(max_append=MAX_APPEND, max_connections=10_000) as gateway:

        async def play_on() -> None:
            nonlocal written
            for seed in left:
                try:
                    history = await play(gateway, seed)
                except (AssertionError, headgate.StreamError, RuntimeError) as failure:
                    again = f"python -m campaigns.writer_histories --first {seed} --seeds 1"
                    raise AssertionError(again) from failure
                written += len(history.taken)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(seeds))):
                group.create_task(play_on())
    return written
