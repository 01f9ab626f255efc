"""The types of resumable streams, and the contract of a broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Literal, Protocol, TypeAlias

Text: TypeAlias = AsyncGenerator[str, None]
State: TypeAlias = Literal["active", "lost", "done"]
MakeSource: TypeAlias = Callable[[], AsyncIterable[str] | Iterable[str]]
ErrorText: TypeAlias = Callable[[Exception], str]


class Broker(Protocol):
    """A broker of your own for `ResumableStreams`: it publishes, subscribes and counts.

    A method raises OSError (or its kinds TimeoutError and ConnectionError) where the broker is
    away, and does so within seconds. A subscription goes on by itself when its connection was lost:
    messages of the meantime may be missing.
    """

    async def publish(self, channel: str, message: str) -> object:
        """Publish a message to the current subscribers; a publisher's messages keep their order."""

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe a function, which is called with each message once this has returned."""

    async def unsubscribe(self, channel: str) -> None:
        """Remove the subscription."""

    async def incr(self, key: str) -> int | None:
        """Add one to a counter that begins at 0, and return it; None if the key has a text."""

    async def set(self, key: str, value: str, ttl: float) -> object:
        """Store a value for so many seconds."""

    async def get(self, key: str) -> str | None:
        """Return the value of a key, a counter as digits, or None."""

    async def expire(self, key: str, ttl: float) -> object:
        """Set the lifetime of an existing value, in seconds from now; 0 deletes it.

        False where nothing was there, and anything else where that is not known: a stream that the
        broker has lost in a restart is then made known again.
        """
