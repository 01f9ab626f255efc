"""The contracts of resumable streams: sources, backplanes and brokers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Text: TypeAlias = AsyncGenerator[str, None]
State: TypeAlias = Literal["active", "lost", "done"]
MakeSource: TypeAlias = Callable[[], AsyncIterable[str] | Iterable[str]]
ErrorText: TypeAlias = Callable[[Exception], str]
FailureText: TypeAlias = Callable[
    [str, Exception], str
]  # for a stream id and the error of its source


class Backplane(Protocol):
    """A store of streams shared by all processes, with the methods of ResumableStreams."""

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int
    ) -> Text | None:
        """Create the stream, or resume it where it exists."""

    async def create(self, stream_id: str, make_source: MakeSource) -> Text:
        """Create the stream, or raise StreamExists."""

    async def resume(self, stream_id: str, resume_at: int) -> Text | None:
        """Read an existing stream from a character on."""

    async def state(self, stream_id: str) -> State | None:
        """Return whether the stream is being produced, done or lost; None if it is unknown."""

    async def aclose(self) -> None:
        """End what is being produced in this event loop, and the connections."""


class Publisher(Protocol):
    """The half of a broker that writes.

    A method raises OSError (or its kinds TimeoutError and ConnectionError) where the broker is
    away, and does so within seconds.
    """

    async def publish(self, channel: str, message: str) -> object:
        """Publish a message to the current subscribers; a publisher's messages keep their order."""

    async def incr(self, key: str) -> int | None:
        """Count up from nothing, atomically, and give the count; None where text is kept there."""

    async def set(self, key: str, value: str, ttl: float) -> object:
        """Store a value for so many seconds."""

    async def get(self, key: str) -> str | None:
        """Return the value of a key, a counter as digits, or None."""

    async def expire(self, key: str, ttl: float) -> object:
        """Set the lifetime of an existing value, in seconds from now; 0 deletes it.

        False where nothing was there, and anything else where that is not known: a stream that the
        broker has lost in a restart is then made known again.
        """


class Subscriber(Protocol):
    """The half of a broker that listens; it raises what a Publisher raises.

    It goes on by itself when its connection was lost: messages of the meantime may be missing.
    """

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe a function, which is called with each message once this has returned."""

    async def unsubscribe(self, channel: str) -> None:
        """Remove the subscription."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker of your own for `ResumableStreams`; one object may be both of its halves.

    Attributes:
        publisher: The half that writes.
        subscriber: The half that listens.
    """

    publisher: Publisher
    subscriber: Subscriber
