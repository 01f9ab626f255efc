"""Redis as far as resumable streams use it, in this process: for faults, and for virtual time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from headgate.resumable import ResumableStreams
from headgate.resumable.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryBroker(RedisBroker):
    """Keys with a lifetime, and channels."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, float]] = {}
        self.channels: dict[str, Callable[[str], None]] = {}

    def streams(self, **options: Any) -> ResumableStreams:
        """One more replica of an application."""
        streams = ResumableStreams("redis://127.0.0.1:1", **options)
        streams._broker = self
        return streams

    async def publish(self, channel: str, message: str) -> None:
        if channel in self.channels:
            self.channels[channel](message)

    async def incr(self, key: str) -> int | None:
        value = await self.get(key)
        if value is not None and not value.isdecimal():
            return None
        count = int(value or 0) + 1
        self.values[key] = (str(count), self.values[key][1] if value else float("inf"))
        return count

    async def set(self, key: str, value: str, ttl: float) -> None:
        self.values[key] = (value, time.monotonic() + ttl)

    async def get(self, key: str) -> str | None:
        value, ends_at = self.values.get(key, (None, 0.0))
        return value if time.monotonic() < ends_at else None

    async def expire(self, key: str, ttl: float) -> bool:
        if key in self.values:
            self.values[key] = (self.values[key][0], time.monotonic() + ttl)
        return key in self.values

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        self.channels[channel] = receive

    async def unsubscribe(self, channel: str) -> None:
        self.channels.pop(channel, None)

    async def aclose(self) -> None:
        """Nothing is open."""
