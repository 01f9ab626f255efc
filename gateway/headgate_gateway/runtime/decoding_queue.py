"""The queue of bodies with a content coding: one is decoded at a time, for a bounded time.

What a coded body costs cannot be seen in its length. Of both codings that are taken, a megabyte
may be members, frames and blocks that decode to nothing: empty frames of zstd take a second of
processor time, tables of deflate 45 ms. So the time itself is bounded, for each body and for all
that wait together.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import BadRequest, LimitReached

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from headgate_gateway.runtime.limits import ServerLimits

T = TypeVar("T")

# Processor time of one body. Bodies of 16 MiB take up to 50 ms, log lines in members of their own
# 200 ms; machines are up to five times slower than the one on which this was measured.
LONGEST_S = 0.1
S_PER_BYTE = 20e-9  # of the decoded body, besides: 50 MB/s
# Processor time of other bodies, for which one waits. Clients repeat a request with status 503.
LONGEST_WAIT_S = 1.0


class DecodingQueue:
    """The queue of coded bodies of a process.

    Each client has one body in the queue; its others wait for that. So a client with many bodies
    delays those of others by one.
    """

    def __init__(self, limits: ServerLimits, clock: Callable[[], float] = time.thread_time) -> None:
        """Count refusals in `limits`. `clock` returns the processor time of this thread."""
        self.spent_s = 0.0  # by all bodies so far
        self._limits = limits
        self._clock = clock
        self._turn = asyncio.Lock()
        self._turns_of: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def run(self, steps: Generator[int, None, T], client: Hashable) -> T:
        """Decode a body of a client when it is its turn, and return what the steps return.

        Each step yields how many bytes it has decoded. Raises LimitReached if other bodies took too
        long before, BadRequest if this one does.
        """
        before_s = self.spent_s
        own_turn = self._turns_of.setdefault(client, asyncio.Lock())
        async with own_turn, self._turn:
            if self.spent_s - before_s > LONGEST_WAIT_S:
                self._limits.refused["decoding_queue"] += 1
                raise LimitReached(
                    "decoding_queue is reached: too many bodies with a Content-Encoding come at "
                    "once, try again"
                )
            return await self._decode(steps)

    async def _decode(self, steps: Generator[int, None, T]) -> T:
        """Run the steps in turns with other work, within the processor time of one body."""
        now = asyncio.get_running_loop().time
        left_s = LONGEST_S
        while True:
            began, turn_ends = self._clock(), now() + LONGEST_TURN_S
            try:
                while now() < turn_ends:
                    left_s += next(steps) * S_PER_BYTE
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                spent_s = self._clock() - began
                self.spent_s += spent_s
            left_s -= spent_s
            if left_s < 0:
                self._limits.refused["decoding_time"] += 1
                raise BadRequest(
                    "decoding_time is reached: the body takes longer to decode than its length "
                    "explains, send it without Content-Encoding"
                )
            await asyncio.sleep(0)
