"""The contract of a route's streams: all that subscriptions need to know of them.

The streams are those of a log of our own, or of another server which is checked for changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from gateway.background import Turns


# A place in a stream: a number in our own log, elsewhere the text of an offset. Those of one stream
# sort as its data do.
Position: TypeAlias = Any
OtherView: TypeAlias = Any  # of the same kind of streams


class StreamView(Protocol):
    """A stream at one moment. `stream_id` is another one for each stream at a path."""

    @property
    def path(self) -> str:
        """The name below the prefix of the route."""

    @property
    def stream_id(self) -> int:
        """The number of this incarnation."""

    @property
    def version(self) -> int:
        """A number that grows with each change."""

    @property
    def tail(self) -> Position:
        """The position of the end."""

    @property
    def first(self) -> Position:
        """The position of the first data that are still there."""

    @property
    def beginning(self) -> Position:
        """The position from which the stream's own data begin."""

    @property
    def unforked_start(self) -> Position:
        """The position of a reader that has read nothing; None for a fork, which inherits data."""

    @property
    def closed(self) -> bool:
        """True if nothing follows the tail any more."""

    @property
    def soft_deleted(self) -> bool:
        """True if the stream was deleted, and stays for its forks."""

    def is_along(self, other: OtherView, /) -> bool:
        """Return whether both are of one history, so that the higher version is later."""

    def offset(self, position: Position, /) -> str:
        """Return the offset of a position, as clients have it."""

    def position(self, offset: str, /) -> Position:
        """Return the position of an offset of this incarnation. Raises BadRequest for others."""


class RecordView(Protocol):
    """A part of an append."""

    @property
    def end(self) -> Position:
        """The position behind it."""

    @property
    def data(self) -> bytes:
        """Its bytes."""


class StreamChange(Protocol):
    """A change of a stream. `expected` is None for a stream that was created."""

    @property
    def state(self) -> StreamView:
        """The stream after the change."""

    @property
    def expected(self) -> int | None:
        """The version before the change."""

    @property
    def removes(self) -> bool:
        """True if the stream is gone."""

    @property
    def records(self) -> Sequence[RecordView]:
        """The appended data, as far as they are known."""


def tail_before(change: StreamChange) -> Position:
    """Return the position of a stream's tail before a change."""
    records = change.records
    return records[0].end - len(records[0].data) if records else change.state.tail


def is_growth(earlier: StreamView | None, later: StreamView) -> bool:
    """Return whether a stream is the same as before, and has lost nothing at its end."""
    return (
        earlier is not None
        and earlier.stream_id == later.stream_id
        and earlier.tail <= later.tail
        and earlier.closed <= later.closed
    )


class StreamSource(Protocol):
    """The streams of a route, for its subscriptions. Every `async` method raises HeadgateError."""

    # True if all streams can be listed. Otherwise those that are linked have to be stored.
    is_listed: bool
    turns: Turns

    def observe(self, on_change: Callable[[StreamChange], None] | None) -> None:
        """Notify `on_change` of each change, before the client that made it gets an answer."""

    def states(self, beginning: str) -> AsyncIterator[StreamView]:
        """Yield the streams whose names have this beginning; none where they are not listed."""

    async def state(self, name: str) -> StreamView | None:
        """Return a stream that clients may use, as it is now; None if there is none."""

    async def read_together(
        self,
        names: Sequence[str],  # noqa: ARG002 - for sources that have such a call
    ) -> Mapping[str, StreamView | None]:
        """Return, by name, the streams that one call reads together; others are left out."""
        return {}

    async def refresh(self, names: Iterable[str]) -> None:
        """Check the tails of linked streams now, before something is refused that may be valid.

        Sources that are notified of each change have nothing to check.
        """

    async def on_new_links(self, names: Iterable[str]) -> None:
        """Have all gateways look out for what is linked now, among it these streams by name.

        Sources that are notified of each change have nothing to do.
        """

    async def append(self, name: str, event: bytes) -> None:
        """Append a JSON message to a stream."""
