"""The contract of the reads of events: pages of a stream behind a position."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.features.mcp.cursors import EventPlace
    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.occurrences import McpEvent
    from gateway.features.subscriptions.state.delivery_state import EventNumbering, EventPosition
    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.features.subscriptions.streams import OtherView, StreamView
    from gateway.live.source import FeedSettings


class EventPage(NamedTuple):
    """Some events of a stream, the positions around them, and whether there are more.

    `cursor` is that of the end, and `gap` that of the start if events are missing before it.
    """

    events: Sequence[McpEvent]
    start: EventPosition
    end: EventPosition
    has_more: bool
    cursor: str
    gap: str | None = None


class StreamWatch(Protocol):
    """The watch of one stream for a client that waits for events."""

    async def wait_behind(self, at: EventPosition | None) -> None:
        """Call back once something follows a position, or a stream that is not there is created.

        Raises HeadgateError.
        """

    def stop(self) -> None:
        """Call back no more."""


class EventReader(Protocol):
    """The reads of events of one route. Every `async` method raises HeadgateError."""

    @property
    def feed_settings(self) -> FeedSettings:
        """The settings of live reads, which hold for streams of events as well."""

    def for_host(self, host: str) -> EventReader:
        """Return the reader for a client by the Host of its request, which an origin may heed."""

    def checked_cursor(self, cursor: object) -> str | None:
        """Return a cursor of a request; None is for events from now on. Raises RpcError."""

    def cursor_at(self, state: StreamView | None, at: EventPosition) -> str:
        """Return the cursor of a position in a stream."""

    def first_cursor(self) -> str:
        """Return a cursor before everything, in a stream that does not exist yet."""

    def new_numbering(self) -> EventNumbering | None:
        """Return how the events of a new cursor are numbered; None if offsets tell that."""

    async def place(self, name: str, cursor: str) -> EventPlace | None:
        """Return where a cursor leads; None if there is no such stream."""

    async def next(
        self, event: EventType, name: str, cursor: str | None, most: int
    ) -> EventPage | None:
        """Return the next events behind a cursor; None if there is no such stream."""

    async def state(self, link: StreamLink) -> StreamView | None:
        """Return the stream of a link as clients may read it, or None."""

    async def page(
        self, event: EventType, state: OtherView, start: EventPosition, most: int
    ) -> EventPage:
        """Return the next events behind a position."""

    def watch(self, name: str, account: str, on_news: Callable[[], None]) -> StreamWatch:
        """Return a watch of a stream for a client with an account."""
