"""A source and a broker that are the test's to control: for faults, and for virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from headgate import Unavailable
from headgate.resumable import ResumableStreams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from headgate.resumable.messages import Text


class MemoryBroker:
    """A broker of an application, as publisher and subscriber: of keys, and of channels.

    Keys expire only when their lifetime is set to 0 s; `lifetimes` has how often it was set.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.channels: dict[str, Callable[[str], None]] = {}
        self.connects = 0
        self.lifetimes: list[float] = []

    def streams(self, **options: Any) -> ResumableStreams:
        """Return the streams of one more replica of an application."""
        return ResumableStreams(publisher=self, subscriber=self, **options)

    async def connect(self) -> None:
        self.connects += 1

    async def publish(self, channel: str, message: str) -> None:
        if channel in self.channels:
            self.channels[channel](message)

    async def incr(self, key: str) -> int:
        self.values[key] = str(int(self.values.get(key, "0")) + 1)
        return int(self.values[key])

    async def set(self, key: str, value: str, ttl: float) -> None:
        self.values[key] = value
        self.lifetimes.append(ttl)

    async def get(self, key: str) -> str | None:
        return self.values.get(key)

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        self.channels[channel] = receive

    async def unsubscribe(self, channel: str) -> None:
        self.channels.pop(channel, None)


class RenewingBroker(MemoryBroker):
    """A broker with the method that an application may leave out."""

    async def expire(self, key: str, ttl: float) -> bool:
        self.lifetimes.append(ttl)
        if not ttl:
            self.values.pop(key, None)
        return key in self.values


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


async def resumed(streams: ResumableStreams, resume_at: int = 0, stream_id: str = "a") -> Text:
    """Resume a stream that is there."""
    text = await streams.resume(stream_id, resume_at)
    assert text is not None, "there is nothing to read"
    return text


async def state_is(streams: ResumableStreams, state: str | None, stream_id: str = "a") -> bool:
    with contextlib.suppress(Unavailable):  # of a connection to the Redis before
        return await streams.state(stream_id) == state
    return False
