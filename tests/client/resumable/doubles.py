"""A source and a Redis that are the test's to control: for faults, and for virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from headgate import Unavailable
from headgate.resumable import ResumableStreams
from headgate.resumable.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from headgate.resumable.messages import Text


class MemoryBroker(RedisBroker):
    """A broker of keys, which expire only when their lifetime is set to 0 s, and of channels."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.channels: dict[str, Callable[[str], None]] = {}

    def streams(self, **options: Any) -> ResumableStreams:
        """Return the streams of one more replica of an application."""
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


class Tap:
    """A source that gives what the test gives it; calling it is `make_source`."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self.calls = 0
        self.is_over = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        self.calls += 1
        try:
            while (step := await self._steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.is_over = True

    def give(self, *chunks: str) -> None:
        for chunk in chunks:
            self._steps.put_nowait(chunk)

    def end(self, error: BaseException | None = None) -> None:
        self._steps.put_nowait(error)


async def chunks(*texts: str) -> AsyncIterator[str]:
    """Yield everything at once, as a source."""
    for chunk in texts:
        yield chunk


async def whole(text: AsyncIterator[str] | None) -> str:
    """Return all that a reader gets."""
    assert text is not None, "there is nothing to read"
    return "".join([chunk async for chunk in text])


async def resumed(streams: ResumableStreams, resume_at: int = 0) -> Text:
    """Resume the stream `a`."""
    text = await streams.resume("a", resume_at)
    assert text is not None, "there is nothing to read"
    return text


async def state_is(streams: ResumableStreams, state: str | None, stream_id: str = "a") -> bool:
    with contextlib.suppress(Unavailable):  # of a connection to the Redis before
        return await streams.state(stream_id) == state
    return False
