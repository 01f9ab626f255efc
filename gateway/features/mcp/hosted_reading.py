"""The reads of events from a log of our own."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import BadRequest, StreamGone
from gateway.features.decoded import stored_messages
from gateway.features.mcp.mcp_requests import events_of
from gateway.features.mcp.reading import (
    EventEnd,
    EventPage,
    EventPlace,
    EventReader,
    StreamWatch,
    end_event,
    event_id,
    message_event,
    refused_cursor,
)
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.protocol.bodies.content import is_json
from gateway.protocol.streams.offsets import parse_offset
from gateway.protocol.streams.state import reckoned_position
from gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.mcp_requests import EventsOfRoute
    from gateway.features.mcp.reading import McpEvent
    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.features.subscriptions.streams import StreamView
    from gateway.live.source import FeedSettings
    from gateway.protocol.streams.state import Record, StreamState
    from gateway.routes.setup import RouteSetup
    from gateway.streams.route import HostedRoute
    from gateway.streams.stream_table import StreamTable


_CURSOR = re.compile(r"([0-9]{1,20})\.([0-9]{16}_[0-9]{16})\.([0-9]{1,9})(c?)", re.ASCII)
BEFORE_CREATION = "0.0000000000000000_0000000000000000.0"  # of a stream that does not exist yet


def cursor_at(state: StreamView | None, at: EventPosition) -> str:
    """Return the cursor of a position in a stream."""
    if state is None:
        return BEFORE_CREATION
    closed = "c" if at.is_closed else ""
    return f"{state.stream_id}.{state.offset(at.position)}.{at.messages}{closed}"


def checked_cursor(cursor: object) -> str | None:
    """Return a cursor of a request; None is for events from now on. Raises RpcError."""
    if cursor is None:
        return None
    if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
        raise refused_cursor()
    return cursor


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
        """Do nothing: each change calls back."""

    @override
    def stop(self) -> None:
        self._stop()


def place_of(state: StreamState, cursor: str | None) -> EventPlace:
    """Return where a cursor leads; where it leads nowhere any more, the first event that is there.

    A stream that was created after the cursor counts from its own beginning.
    """
    if cursor is None:
        return EventPlace(EventPosition(state.tail, 0, state.closed))
    match = _CURSOR.fullmatch(cursor)
    assert match is not None, "it was checked"
    stream_id, offset, messages, closed = match.groups()
    first = EventPosition(max(state.first, state.beginning))
    if cursor == BEFORE_CREATION:
        return EventPlace(first, state.first > state.beginning)
    if int(stream_id) != state.stream_id:
        return EventPlace(first, is_truncated=True)
    try:
        position = reckoned_position(state, parse_offset(offset, "cursor"))
    except (StreamGone, BadRequest):
        return EventPlace(first, is_truncated=True)
    if position > state.tail:
        return EventPlace(EventPosition(state.tail), is_truncated=True)
    is_closed = bool(closed) and position == state.tail and state.closed
    return EventPlace(EventPosition(position, int(messages), is_closed))


def events_in(
    event: EventType, state: StreamState, start: EventPosition, records: Sequence[bytes]
) -> Iterator[McpEvent]:
    """Yield the events of the records after a position."""
    begin, skipped = start.position, start.messages
    for record in records:
        end = begin + len(record)
        messages = stored_messages(record) if is_json(state.content_type) else [record]
        for number in range(skipped, len(messages)):
            is_last = number + 1 == len(messages)
            at = EventPosition(end) if is_last else EventPosition(begin, number + 1)
            offset = state.offset(end)
            named = event_id(state.stream_id, state.path, offset, number)
            mark = EventEnd(named, offset, at, cursor_at(state, at))
            message = bytes(messages[number])
            yield message_event(event, state.path, state.content_type, message, mark)
        begin, skipped = end, 0


def closing_event(event: EventType, state: StreamState) -> McpEvent:
    """Return the event of the end of a stream in a log of our own."""
    at, offset = EventPosition(state.tail, 0, is_closed=True), state.offset(state.tail)
    named = event_id(state.stream_id, state.path, offset, "closed")
    return end_event(event, state.path, EventEnd(named, offset, at, cursor_at(state, at)))


def events_of_log(route: HostedRoute, made: RouteSetup) -> EventsOfRoute | None:
    """Return the events of a route to a log of our own. Raises StartError at a start."""
    return events_of(route, made, lambda: HostedEventReader(route))
