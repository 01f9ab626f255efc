"""A TCP proxy that cuts each connection after a random number of bytes."""

from __future__ import annotations

import asyncio
import random

from tests.support.listener import Listener
from tests.support.resets import reset_on_close

_READ_BYTES = 1 << 16
# How much more the next connection may carry, so that an answer of any size gets through at last.
_GROWTH = 1.15


class CuttingProxy(Listener):
    """Forwards connections to a loopback port; `cuts` counts those it broke.

    A connection carries up to `at_most` bytes, both directions together, before it is cut, and
    `at_most` grows by 15 % with every cut: ten cuts need at most twenty times its first value.
    The sizes follow from the seed alone. `asked` is set when something has come that has these
    `words` in it.
    """

    def __init__(
        self, target_port: int, *, seed: int, at_most: float, words: bytes = b"HTTP/1.1"
    ) -> None:
        super().__init__(self._serve)
        self.target_port = target_port
        self.seed = seed
        self.at_most = at_most
        self.connections = 0
        self.cuts = 0
        self.asked = asyncio.Event()
        self._words = words
        self._random = random.Random(seed)

    def __repr__(self) -> str:
        return (
            f"CuttingProxy(seed={self.seed}, at_most={self.at_most:.0f}, "
            f"connections={self.connections}, cuts={self.cuts})"
        )

    async def _serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        budget = _Budget(self._random.randint(1, int(self.at_most)))
        with_reset = self._random.random() < 0.5
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        upward = asyncio.create_task(self._forward(client_reader, server_writer, budget))
        downward = asyncio.create_task(self._forward(server_reader, client_writer, budget))
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upward.cancel()
            downward.cancel()
            server_writer.transport.abort()
            if budget.is_spent:
                self.cuts += 1
                self.at_most *= _GROWTH
                if with_reset:
                    reset_on_close(client_writer.get_extra_info("socket"))

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: _Budget
    ) -> None:
        """Copy until the source ends, either side breaks or the budget is spent."""
        try:
            while not budget.is_spent and (data := await source.read(_READ_BYTES)):
                if self._words in data:
                    self.asked.set()
                sink.write(data[: budget.take(len(data))])
                await sink.drain()
        except OSError:
            return


class _Budget:
    """The bytes that one connection may still carry."""

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def is_spent(self) -> bool:
        return self.left == 0

    def take(self, wanted: int) -> int:
        granted = min(wanted, self.left)
        self.left -= granted
        return granted
