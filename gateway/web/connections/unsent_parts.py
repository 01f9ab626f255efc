"""Queue what a socket does not accept, and pause the protocol that writes it."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PARTS = 1024  # buffers in one writev call (IOV_MAX)


class UnsentParts:
    """The bytes of a connection that wait for room, and whether its protocol is paused for them."""

    __slots__ = ("_is_paused", "_parts", "size")

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview] = deque()
        self._is_paused = False
        self.size = 0

    def add(self, parts: Iterable[bytes | bytearray | memoryview], sent: int) -> None:
        """Queue all but the first `sent` bytes, without copying bytes: readers share them."""
        for part in parts:
            if sent < len(part):
                whole = part if isinstance(part, bytes) else bytes(part)
                self._parts.append(memoryview(whole)[sent:] if sent else whole)
                self.size += len(part) - sent
            sent = max(0, sent - len(part))

    def first(self) -> tuple[bytes | memoryview, ...]:
        """Return as many parts as one system call takes."""
        return (*islice(self._parts, MOST_PARTS),)

    def drop(self, sent: int) -> None:
        """Remove the first `sent` bytes, which were written."""
        self.size -= sent
        while sent:
            first = self._parts.popleft()
            if sent < len(first):
                self._parts.appendleft(memoryview(first)[sent:])
            sent = max(0, sent - len(first))

    def pause_if_high(self, protocol: asyncio.BaseProtocol | None, high: int) -> None:
        """Pause the protocol above `high` bytes."""
        if self.size > high and not self._is_paused:
            self._is_paused = True
            assert isinstance(protocol, asyncio.Protocol), "before it there is only a short head"
            protocol.pause_writing()

    def resume_if_low(self, protocol: asyncio.BaseProtocol | None, high: int) -> None:
        """Resume a paused protocol at a quarter of `high` bytes."""
        if self._is_paused and self.size <= high // 4:
            self._is_paused = False
            assert isinstance(protocol, asyncio.Protocol), "it was paused"
            protocol.resume_writing()
