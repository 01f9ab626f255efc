"""What a feed and its surroundings know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.live.feed import Feed
    from gateway.protocol.caching import Freshness
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.state import StreamState


class Waiter(Protocol):
    """A long-poll that waits at the tail."""

    def answer(self, response: Response | None, wire: bytes) -> None:
        """Take the answer: as a value, and as the bytes shared by all who asked the same."""


class Parked(NamedTuple):
    """Where a waiter waits and for how long (loop time)."""

    position: int
    read: Read
    deadline: float


class FeedSettings(NamedTuple):
    """Times in seconds."""

    long_poll_timeout: float
    heartbeat: float
    sse_max_age: float


class Host(Protocol):
    """What a feed needs of the route it belongs to."""

    settings: FeedSettings
    freshness: Freshness

    def clock(self) -> float:
        """Epoch seconds."""

    def wire(self, response: Response) -> bytes:
        """A response as the bytes that keep-alive connections share."""

    def cached_events(self, state: StreamState, start: int) -> tuple[bytes, int] | None:
        """The data event of the chunk at `start` and where the chunk ends, when it is at hand."""

    def read_events(
        self, state: StreamState, start: int
    ) -> Coroutine[None, None, tuple[bytes, int]]:
        """The same, from the log."""

    def feed_empty(self, feed: Feed) -> None:
        """Nobody reads the feed any more."""

    def reader_left(self) -> None:
        """One live reader fewer."""
