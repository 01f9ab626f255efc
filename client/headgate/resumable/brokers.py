"""Brokers of resumable streams between processes: a Redis, or two objects of an application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from typing_extensions import override

from headgate.errors import Unavailable
from headgate.resumable.messages import DONE

Receive: TypeAlias = Callable[[str], None]

FREE = "0"  # a sentinel that INCR makes 1: the next process creates the stream
FREE_S = 2 * 60 * 60.0  # of such a sentinel; any time will do
LEAVE_WITHIN_S = 5.0


class Publisher(Protocol):
    """A client that publishes and stores, for brokers other than Redis and for other clients.

    It raises an error of any kind where the broker cannot be reached. It may have a method
    `expire(key, ttl)`, too, which sets the lifetime of a key in seconds, deletes the key if that is
    0, and returns False if there is none; without it, keys are renewed by `set`.
    """

    def connect(self) -> Awaitable[object]:
        """Connect. It is called once, before the first use."""
        ...

    def publish(self, channel: str, message: str, /) -> Awaitable[object]:
        """Send a message to those that are subscribed to the channel."""
        ...

    def set(self, key: str, value: str, ttl: float, /) -> Awaitable[object]:
        """Store a value for `ttl` seconds."""
        ...

    def get(self, key: str, /) -> Awaitable[str | None]:
        """Return the value of a key, or None."""
        ...

    def incr(self, key: str, /) -> Awaitable[int]:
        """Add 1 to the number of a key, 0 if it is new, and return it; do not send it twice.

        Raises an error if the value is not a number.
        """
        ...


class Subscriber(Protocol):
    """A client that receives what `Publisher` publishes, over a connection of its own.

    After it has lost its connection, it subscribes again by itself; messages may be lost meanwhile.
    """

    def connect(self) -> Awaitable[object]:
        """Connect. It is called once, before the first use."""
        ...

    def subscribe(self, channel: str, receive: Callable[[str], None], /) -> Awaitable[object]:
        """Call `receive` with each message of the channel, in this event loop.

        It returns once the broker has confirmed the subscription.
        """
        ...

    def unsubscribe(self, channel: str, /) -> Awaitable[object]:
        """End the subscription to a channel; there may be none."""
        ...


class Broker(Protocol):
    """A broker as streams use it. Each method raises Unavailable while it is away."""

    async def publish(self, channel: str, message: str) -> None:
        """Publish a message on a channel."""

    async def subscribe(self, channel: str, receive: Receive) -> None:
        """Subscribe to a channel, and wait for the confirmation; `receive` must not block."""

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe, also from a channel whose subscription was cancelled unconfirmed."""

    async def incr(self, key: str) -> int | None:
        """Increment the counter, at most once; return None if the value is not a number."""

    async def set(self, key: str, value: str, ttl: float) -> None:
        """Store a value with a lifetime in seconds."""

    async def get(self, key: str) -> str | None:
        """Return the value of a key, or None."""

    async def expire(self, key: str, ttl: float) -> bool:
        """Set the lifetime of a value in seconds; return False if there is none."""
        ...

    async def aclose(self) -> None:
        """End the subscriptions, and close the connections that are not an application's."""


class PairBroker(Broker):
    """A publisher and a subscriber of an application, as one broker."""

    def __init__(self, publisher: Publisher, subscriber: Subscriber) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self._channels: set[str] = set()
        self._connecting = asyncio.Lock()
        self._is_connected = False

    @override
    async def publish(self, channel: str, message: str) -> None:
        await self._call(self._publisher.publish, channel, message)

    @override
    async def subscribe(self, channel: str, receive: Receive) -> None:
        self._channels.add(channel)
        await self._call(self._subscriber.subscribe, channel, receive)

    @override
    async def unsubscribe(self, channel: str) -> None:
        self._channels.discard(channel)
        await self._call(self._subscriber.unsubscribe, channel)

    @override
    async def incr(self, key: str) -> int | None:
        try:
            return int(await self._call(self._publisher.incr, key))
        except Unavailable:
            if await self.get(key) == DONE:  # each broker refuses that in words of its own
                return None
            raise

    @override
    async def set(self, key: str, value: str, ttl: float) -> None:
        await self._call(self._publisher.set, key, value, ttl)

    @override
    async def get(self, key: str) -> str | None:
        value = await self._call(self._publisher.get, key)
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return None if text == FREE else text

    @override
    async def expire(self, key: str, ttl: float) -> bool:
        if (expire := getattr(self._publisher, "expire", None)) is not None:
            return await self._call(expire, key, ttl) is not False
        # If it is marked done between these two, it is known as active once more: no text is lost.
        if (value := await self.get(key)) is None:
            return False
        await self.set(key, value if ttl else FREE, ttl or FREE_S)
        return True

    @override
    async def aclose(self) -> None:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                for channel in [*self._channels]:
                    await self.unsubscribe(channel)

    async def _call(self, method: Callable[..., Awaitable[Any]], *arguments: object) -> Any:  # noqa: ANN401 - what it returns
        try:
            async with self._connecting:
                if not self._is_connected:
                    await self._publisher.connect()
                    if id(self._subscriber) != id(self._publisher):
                        await self._subscriber.connect()
                    self._is_connected = True
            return await method(*arguments)
        except Exception as error:
            # Its message may hold an address with a password.
            kind = type(error).__name__
            raise Unavailable(f"the broker of resumable streams failed: {kind}") from error
