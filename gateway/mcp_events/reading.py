"""Reads of events: pages of a stream behind a position."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from gateway.mcp_events.occurrences import closing_event, events_in
from gateway.streams.stream_table import find_stream
from gateway.subscriptions.state.cursors import EventPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.hosted.chunk_reader import ChunkReader
    from gateway.mcp_events.event_types import EventType
    from gateway.mcp_events.occurrences import McpEvent
    from gateway.protocol.streams.state import StreamState


class EventPage(NamedTuple):
    """Some events of a stream, the position behind them, and whether there are more."""

    events: Sequence[McpEvent]
    end: EventPosition
    has_more: bool


class EventReader:
    """The reads of events of one route."""

    def __init__(self, chunks: ChunkReader) -> None:
        self.table = chunks.table
        self._chunks = chunks

    async def state(self, name: str) -> StreamState | None:
        """Return the state of a stream that a client may read, or None. Raises LogUnavailable."""
        return await find_stream(self.table, name)

    async def page(
        self, event: EventType, state: StreamState, start: EventPosition, most: int
    ) -> EventPage:
        """Return the next events, `most` of them and one chunk of the log at most.

        Raises HeadgateError.
        """
        if start.position >= state.tail:
            if start.is_closed or not state.closed:
                return EventPage((), start, False)
            closing = closing_event(event, state)
            return EventPage((closing,), closing.end, False)
        chunk = await self._chunks.chunk(state, start.position)
        if chunk.start != start.position:
            start = EventPosition(chunk.start)
        found = events_in(event, chunk.state, start, chunk.records)
        events = list(islice(found, most))
        end = EventPosition(chunk.end) if len(events) < most else events[-1].end
        now = chunk.state
        has_more = end.position < now.tail or now.closed
        return EventPage(events, end, has_more)
