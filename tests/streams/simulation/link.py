"""A gateway's connection to Redis, without a socket: slow, stuck or cut at will."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import hiredis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.redis.connection import Reply
    from tests.streams.simulation.redis import Redis

TICK_S = 1e-9  # keeps what is sent one after the other in order


def is_commit(words: Sequence[bytes]) -> bool:
    """Whether a command may write something."""
    return len(words) > 1 and words[1].startswith((b"headgate_commit", b"headgate_settle"))


def encode(reply: Reply) -> bytes:
    """A reply as it is sent."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))


class Link(asyncio.Transport):
    """What is sent arrives in its order, sooner or later."""

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self.redis = redis
        redis.links[self] = None
        self._loop = asyncio.get_running_loop()
        self._starts = redis.starts
        self._protocol: asyncio.Protocol | None = None
        self._reader = hiredis.Reader()
        self._inbox: deque[list[bytes]] = deque()
        self._works = False
        self._arrives = self._told = 0.0  # when the last that is on its way does
        self._is_closing = False
        self._is_deaf = False  # what is on its way never arrives

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def stall(self, seconds: float) -> None:
        """Nothing gets through for a while, and nobody is told."""
        until = self._loop.time() + seconds
        self._arrives, self._told = max(self._arrives, until), max(self._told, until)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing:
            self._arrives = self._later(self._arrives)
            self._loop.call_at(self._arrives, self._arrive, bytes(data))

    def _later(self, than: float) -> float:
        return max(than + TICK_S, self._loop.time() + self.redis.chance.latency_s())

    def _arrive(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._inbox.append(words)
        if not self._works:
            self._work()

    def _work(self) -> None:
        """Carry out what has arrived; others' commands may come in between."""
        self._works = False
        while self._inbox:
            if not self.redis.is_up or self.redis.starts != self._starts:
                return
            words = self._inbox.popleft()
            for reply in self.redis.run(self, words):
                self.tell(reply)
            if self.redis.dies_of is not None and is_commit(words):
                self.redis.dies_of()
                return
            if self._inbox and self.redis.chance.one_in(20):
                self._works = True
                self._loop.call_later(self.redis.chance.latency_s(), self._work)
                return

    def tell(self, reply: Reply) -> None:
        """Send something back."""
        if not self._is_closing:
            self._told = self._later(self._told)
            self._loop.call_at(self._told, self._deliver, encode(reply))

    def _deliver(self, data: bytes) -> None:
        if self._protocol is not None and not self._is_closing:
            self._protocol.data_received(data)

    def abort(self) -> None:
        self._end(None)

    def close(self) -> None:
        self._end(None)

    def cut(self) -> None:
        """Lose the connection: of what is on its way, no answer comes."""
        self._end(ConnectionResetError("cut"))

    def _end(self, error: Exception | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._is_deaf = self.redis.chance.one_in(2)
        self.redis.links.pop(self, None)
        for heard in self.redis.channels.values():
            heard.pop(self, None)
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(error)
