"""What a writer says is in a stream against what is, with a hostile way to the server.

Each seed is a history: chunks of all sizes, written, flushed, waited for, cancelled and ended at
any moment, while requests are lost before or after the server has them, refused, or late.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from itertools import accumulate
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


class History:
    """One writer on one stream: what was taken, in order, and how it ended."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.content_type = self.chance.choice((JSON, JSON, TEXT, OCTETS))
        self.ending = self.chance.choice(("aclose", "end", "abort", "leave"))
        self.taken: list[str] = []

    async def fate(self, request: web.Request) -> Fate:
        """Of a request on the way."""
        await asyncio.sleep(self.chance.choice((0, 0, LATEST_S * self.chance.random())))
        # Too long and perhaps stored, a batch cannot be sent in parts: that ends a writer.
        if request.method == "PUT" or (request.content_length or 0) > MAX_APPEND:
            return Fate.PASSED
        harm = (Fate.LOST, Fate.LOST_AFTER, Fate.REFUSED, Fate.FAILED_AFTER)
        return self.chance.choice(harm) if self.chance.random() < 0.25 else Fate.PASSED

    async def play(self, url: str) -> int:
        """Write with limits that are met soon, and return how much was acknowledged at the end."""
        chance = self.chance
        async with StreamWriter(
            url,
            flush_interval=chance.choice((0, 0.001, 0.010)),
            max_batch_chunks=chance.randint(1, 20),
            max_batch_bytes=chance.randint(1, 4 * MAX_APPEND),
            max_buffer_bytes=chance.randint(1, 8 * MAX_APPEND),
        ) as writer:
            for number in range(chance.randint(0, MOST_CHUNKS)):
                chunk = f"{number}:" + "é" * int(chance.paretovariate(0.5) % LONGEST)
                gives_up_s = LATEST_S * chance.random() if chance.random() < 0.2 else None
                with suppress(TimeoutError):  # as it waits for room: it is not taken
                    async with asyncio.timeout(gives_up_s):
                        await writer.write(chunk)
                    self.taken.append(chunk)
                drawn = chance.random()
                if drawn < 0.1:
                    await writer.flush()
                    assert writer.acknowledged == len(self.taken)
                elif drawn < 0.4:
                    await asyncio.sleep(LATEST_S * chance.random())
            if self.ending != "leave":
                await getattr(writer, self.ending)()
        return writer.acknowledged

    async def check(self, url: str, acknowledged: int) -> None:
        """Read back: in order, once each; all of it, or at least what was acknowledged."""
        if self.content_type == JSON:
            found = await messages(url)
            there = len(found)
            assert found == self.taken[:there]
        else:
            text = (await data(url)).decode()
            sizes = list(accumulate(map(len, self.taken), initial=0))
            assert "".join(self.taken).startswith(text)
            there = sizes.index(len(text))  # no chunk is there by half
        assert acknowledged <= there
        if self.ending != "abort":
            assert acknowledged == there == len(self.taken)
        assert await is_closed(url) == (self.ending == "end")


async def play(gateway: Serving, seed: int) -> History:
    """One history on a stream of its own."""
    history = History(seed)
    async with RequestProxy(gateway.port, history.fate) as way:
        url = await made(way.url, history.content_type)
        acknowledged = await history.play(url)
        base = f"http://127.0.0.1:{gateway.port}"
        await history.check(base + url.removeprefix(way.url), acknowledged)
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
                except (AssertionError, ValueError, headgate.StreamError, RuntimeError) as failure:
                    again = f"python -m campaigns.writer_histories --first {seed} --seeds 1"
                    raise AssertionError(again) from failure
                written += len(history.taken)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(seeds))):
                group.create_task(play_on())
    return written
