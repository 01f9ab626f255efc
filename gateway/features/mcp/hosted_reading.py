"""The reads of events from a log of our own."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.mcp.cursors import (
    BEFORE_CREATION,
    EventPlace,
    checked_cursor,
    cursor_at,
    place_of,
)
from gateway.features.mcp.occurrences import closing_event, events_in
from gateway.features.mcp.reading import EventPage, EventReader, StreamWatch
from gateway.features.mcp.setup import set_events
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.occurrences import McpEvent
    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.live.source import FeedSettings
    from gateway.protocol.streams.state import Record, StreamState
    from gateway.routes.setup import RouteSetup
    from gateway.streams.route import HostedRoute
    from gateway.streams.stream_table import StreamTable


class HostedEventReader(EventReader):
    """The reads of events from a log of our own."""

    checked_cursor = staticmethod(checked_cursor)
    cursor_at = staticmethod(cursor_at)

    def __init__(self, route: HostedRoute) -> None:
        self._table = route.table
        self._chunks = route.reads.reader
        self._feeds = route.feeds

    @property
    @override
    def feed_settings(self) -> FeedSettings:
        return self._feeds.source.settings

    @override
    def for_host(self, host: str) -> EventReader:
        return self

    @override
    def first_cursor(self) -> str:
        return BEFORE_CREATION

    @override
    def new_numbering(self) -> None:
        return None

    @override
    async def place(self, name: str, cursor: str) -> EventPlace | None:
        state = await find_stream(self._table, name)
        return None if state is None else place_of(state, cursor)

    @override
    async def next(
        self, event: EventType, name: str, cursor: str | None, most: int
    ) -> EventPage | None:
        state = await find_stream(self._table, name)
        if state is None:
            return None
        place = place_of(state, cursor)
        page = await self.page(event, state, place.position, most)
        gap = cursor_at(state, place.position) if place.is_truncated else None
        return page._replace(gap=gap)

    @override
    async def state(self, link: StreamLink) -> StreamState | None:
        return await find_stream(self._table, link.stream.path)

    @override
    async def page(
        self, event: EventType, state: StreamState, start: EventPosition, most: int
    ) -> EventPage:
        """Return the next events, `most` of them and one chunk of the log at most."""
        events: list[McpEvent] = []
        if start.position >= state.tail:
            if start.is_closed or not state.closed:
                return EventPage((), start, start, False, cursor_at(state, start))
            events = [closing_event(event, state)]
            end = events[0].end
            return EventPage(events, start, end, False, cursor_at(state, end))
        chunk = await self._chunks.chunk(state, start.position)
        if chunk.start != start.position:
            start = EventPosition(chunk.start)
        found = events_in(event, chunk.state, start, chunk.records)
        events = list(islice(found, most))
        end = EventPosition(chunk.end) if len(events) < most else events[-1].end
        now = chunk.state
        has_more = end.position < now.tail or now.closed
        return EventPage(events, start, end, has_more, cursor_at(state, end))

    @override
    def watch(self, name: str, account: str, on_news: Callable[[], None]) -> StreamWatch:
        return _HostedWatch(self._table, name, on_news)


class _HostedWatch(StreamWatch):
    """A watch of a stream, which is called with each change from its beginning on."""

    def __init__(self, table: StreamTable, name: str, on_news: Callable[[], None]) -> None:
        self._on_news = on_news
        self._stop = table.following.watch(table.get(name), self._on_change)

    def _on_change(self, _state: StreamState | None, _records: Sequence[Record]) -> None:
        self._on_news()

    @override
    async def wait_behind(self, at: EventPosition | None) -> None:
        """Do nothing: each change is told."""

    @override
    def stop(self) -> None:
        self._stop()


def set_events_of_log(route: HostedRoute, made: RouteSetup) -> None:
    """Set up the events of a route to a log of our own. Raises StartError at a start."""
    set_events(route, made, lambda: HostedEventReader(route))
