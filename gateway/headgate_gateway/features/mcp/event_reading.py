"""The reads of events from a log."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import BadRequest, StreamGone
from headgate_gateway.features.decoded import stored_messages
from headgate_gateway.features.mcp.events import EventPosition, McpEvent, content_of, event_id
from headgate_gateway.features.mcp.rpc import INVALID_PARAMS, RpcError
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import reckoned_position
from headgate_gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headgate_gateway.features.mcp.event_types import EventType
    from headgate_gateway.live.source import FeedSettings
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.streams.route import HostedRoute


_CURSOR = re.compile(r"([0-9]{1,20})\.([0-9]{16}_[0-9]{16})\.([0-9]{1,9})(c?)", re.ASCII)
BEFORE_CREATION = "0.0000000000000000_0000000000000000.0"  # of a stream that does not exist yet


class EventPage(NamedTuple):
    """Some events of a stream, whether there are more, and the cursor after them.

    `gap` is the cursor before them if events are missing there.
    """

    events: Sequence[McpEvent]
    cursor: str
    has_more: bool = False
    gap: str | None = None


class EventReader:
    """The reader of the events of one route."""

    def __init__(self, route: HostedRoute) -> None:
        self._table = route.table
        self._table = route.table
        self._feeds = route.feeds

    @property
    def feed_settings(self) -> FeedSettings:
        """The settings of live reads, which hold for streams of events as well."""
        return self._feeds.source.settings

    async def next(
        self, event: EventType, name: str, cursor: str | None, most: int
    ) -> EventPage | None:
        """Return the next events after a cursor; None if there is no such stream.

        They are `most` events and one chunk of the log at most. Raises HeadgateError.
        """
        state = await find_stream(self._table, name)
        if state is None:
            return None
        start, is_truncated = place_of(state, cursor)
        gap = cursor_at(state, start) if is_truncated else None
        if start.position >= state.tail:
            if start.is_closed or not state.closed:
                return EventPage((), cursor_at(state, start), gap=gap)
            closing = _closing_event(event, state)
            return EventPage([closing], closing.cursor, gap=gap)
        chunk = await self._table.read(state, start.position)
        now = chunk.state
        if chunk.start != start.position:
            start = EventPosition(chunk.start)
        events = list(islice(_events_in(event, now, start, chunk.records), most))
        end = EventPosition(chunk.end) if len(events) < most else events[-1].end
        has_more = end.position < now.tail or now.closed
        return EventPage(events, cursor_at(state, end), has_more, gap)

    def watch(self, name: str, on_news: Callable[[], None]) -> Callable[[], None]:
        """Call `on_news` with each change of a stream; return how to end that."""
        return self._table.following.watch(self._table.get(name), lambda *_: on_news())


def cursor_at(state: StreamState, at: EventPosition) -> str:
    """Return the cursor of a position in a stream."""
    closed = "c" if at.is_closed else ""
    return f"{state.stream_id}.{state.offset(at.position)}.{at.messages}{closed}"


def checked_cursor(cursor: object) -> str | None:
    """Return a cursor of a request; None is for events from now on. Raises RpcError."""
    if cursor is None:
        return None
    if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
        raise RpcError(INVALID_PARAMS, "cursor is none that was given out here")
    return cursor


def place_of(state: StreamState, cursor: str | None) -> tuple[EventPosition, bool]:
    """Return where a cursor leads, and whether its client cannot have all events from there.

    A cursor that leads nowhere any more leads to the first event that is there. A stream that was
    created after the cursor counts from its own beginning.
    """
    if cursor is None:
        return EventPosition(state.tail, 0, state.closed), False
    match = _CURSOR.fullmatch(cursor)
    assert match is not None, "it was checked"
    stream_id, offset, messages, closed = match.groups()
    first = EventPosition(max(state.first, state.beginning))
    if cursor == BEFORE_CREATION:
        return first, state.first > state.beginning
    if int(stream_id) != state.stream_id:
        return first, True
    try:
        position = reckoned_position(state, parse_offset(offset, "cursor"))
    except (StreamGone, BadRequest):
        return first, True
    if position > state.tail:
        return EventPosition(state.tail), True
    is_closed = bool(closed) and position == state.tail and state.closed
    return EventPosition(position, int(messages), is_closed), False


def _events_in(
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
            yield McpEvent(
                event_id(state.stream_id, state.path, state.offset(end), number),
                event.name,
                {
                    "stream": state.path,
                    "offset": state.offset(end),
                    **content_of(state.content_type, bytes(messages[number])),
                },
                at,
                cursor_at(state, at),
            )
        begin, skipped = end, 0


def _closing_event(event: EventType, state: StreamState) -> McpEvent:
    at, offset = EventPosition(state.tail, 0, is_closed=True), state.offset(state.tail)
    data = {"stream": state.path, "offset": offset, "closed": True}
    named = event_id(state.stream_id, state.path, offset, "closed")
    return McpEvent(named, event.name, data, at, cursor_at(state, at))
