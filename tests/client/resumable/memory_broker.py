"""Redis as far as resumable streams use it, in this process: for faults, and for virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.resumable import ResumableStreams
from headgate.resumable.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryBroker(RedisBroker):
    """Keys, whose lifetime is over at 0 s alone, and channels."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
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
        value = self.values.get(key, "0")
        if not value.isdecimal():
            return None
        self.values[key] = str(int(value) + 1)
        return int(value) + 1

    async def set(self, key: str, value: str, ttl: float) -> None:
        self.values[key] = value

    async def get(self, key: str) -> str | None:
        return self.values.get(key)

    async def expire(self, key: str, ttl: float) -> bool:
        if not ttl:
            self.values.pop(key, None)
        return key in self.values

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        self.channels[channel] = receive

    async def unsubscribe(self, channel: str) -> None:
        self.channels.pop(channel, None)

    async def aclose(self) -> None:
        """Nothing is open."""
