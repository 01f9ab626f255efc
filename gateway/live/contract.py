"""What a feed and its surroundings know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.errors import HeadgateError
    from gateway.live.feed import Feed
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response

    Join = Callable[[], Feed[Any, Any]]  # one more reader of a feed; raises at their limit

V = TypeVar("V")
N = TypeVar("N")


class Waiter(Protocol):
    """A long-poll that waits at the tail."""

    def answer(self, response: Response | None, wire: bytes) -> None:
        """Take the answer: as a value, and as the bytes shared by all who asked the same."""

    def abandon(self) -> None:
        """There is none, and the client has to ask again."""


class Parkable(Waiter, Protocol):
    """A client's connection, which can wait without a task."""

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""

    def take(self, on_lost: Callable[[Waiter], object] | None) -> None:
        """Keep it for an answer that comes later, and say whom to tell when its client leaves."""

    def tell_loss(self, on_lost: Callable[[Waiter], object] | None) -> None:
        """Whom to tell from now on."""


class Parked(NamedTuple):
    """Where a waiter waits, an offset, and for how long (loop time)."""

    position: str
    read: LongPoll
    deadline: float


LONGEST_ROUND = 512 * 1024  # bytes that are made into events at once: 12 ms for mere line ends


class Cut(NamedTuple):
    """A data event, rendered but for its chunk's framing, and the offset at which its data ends."""

    data_event: bytes
    end: str


class FeedSettings(NamedTuple):
    """Times in seconds."""

    long_poll_timeout: float
    heartbeat: float
    sse_max_age: float


class Host(Protocol[V, N]):
    """What a feed needs of the route it belongs to.

    `V` is a stream as the route knows it, `N` a piece of news of it. Positions are offsets, which
    sort as text (PROTOCOL.md section 8).
    """

    settings: FeedSettings

    def clock(self) -> float:
        """Epoch seconds."""

    def poll_data(
        self, stream: V, parked: Parked, news: Sequence[N]
    ) -> tuple[Response, bytes] | None:
        """The answer with what came after the waiter's position; None when the news lack it."""

    def poll_ended(self, stream: V, parked: Parked) -> tuple[Response, bytes] | None:
        """The answer without data: the time is over, or the stream is closed.

        None where it is not known that there are none.
        """

    def refusal(self, reason: HeadgateError) -> tuple[Response, bytes]:
        """The answer when there is none."""

    def late_poll(
        self, stream: V, parked: Parked
    ) -> Coroutine[None, None, tuple[Response, bytes] | None]:
        """The answer to a waiter whose position is not in the news; None to wait on.

        There is one when its time is over.
        """

    def cut(self, stream: V, start: str, news: Sequence[N]) -> list[Cut] | None:
        """News that follow `start` as data events; None when they are too long for one turn."""

    def cached_events(self, stream: V, start: str) -> Cut | None:
        """The data event of the chunk at `start`, when it is at hand."""

    def read_events(self, stream: V, start: str) -> Coroutine[None, None, Cut]:
        """The same, from where the stream lives."""

    def feed_empty(self, feed: Feed[V, N]) -> None:
        """Nobody reads the feed any more."""

    def reader_left(self) -> None:
        """One live reader fewer."""
