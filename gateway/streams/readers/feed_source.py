"""The source of a log's feeds: responses to long-polls, and events for SSE readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.access.reader_keys import renewed
from gateway.errors import LogUnavailable
from gateway.live.contract import DataEvent, EventChunk, no_trailers, rendered
from gateway.protocol import responses
from gateway.protocol.bodies.content import control_event, data_event, read_body
from gateway.protocol.streams import chunks
from gateway.protocol.streams.generations import position_of
from gateway.protocol.streams.offsets import NOW, parse_offset
from gateway.runtime.single_flight import SingleFlight
from gateway.streams.readers.reads import groups

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gateway.access.reader_keys import ReaderKeys
    from gateway.live.contract import FeedSettings, Parked
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.responses import Response
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import Record, StreamState
    from gateway.runtime.context import Context
    from gateway.store import Store
    from gateway.streams.readers.reads import ChunkReader
    from gateway.telemetry.traffic import Traffic


class HostedFeedSource:
    """The FeedSource of a route, whose chunks are read by `reader`."""

    def __init__(
        self,
        reader: ChunkReader,
        freshness: Freshness,
        settings: FeedSettings,
        shared: Context,
        traffic: Traffic,
        events: Store[EventChunk],
    ) -> None:
        """Cache the data events for catch-up in `events`."""
        self.settings = settings
        self.traffic = traffic
        self.shared = shared
        self._events = events
        self._table = reader.table
        self._reader = reader
        self._freshness = freshness
        self.reader_keys: ReaderKeys | None = None
        self._reads: SingleFlight[DataEvent] = SingleFlight(traffic.collapsed)

    control_event = staticmethod(control_event)
    trailers = staticmethod(no_trailers)

    def news_bytes(self, news: Sequence[Record]) -> int:
        """Return the number of bytes of data in the records."""
        return sum(len(record.data) for record in news)

    def poll_data(
        self, stream: StreamState, parked: Parked, news: Sequence[Record]
    ) -> Response | None:
        """Return the records after the waiter's position; None if that is inside a record."""
        start = parse_offset(parked.position, "position").position
        if stream.offset(start) != parked.position:
            return None
        mine = [record for record in news if record.end > start]
        if not mine or mine[0].end - len(mine[0].data) != start:
            return None
        return self._data(parked, self._reader.shaped(chunks.cut(stream, start, mine)[0]))

    def _data(self, parked: Parked, chunk: Chunk) -> Response:
        read = renewed(self.reader_keys, parked.read)
        return responses.data(chunk, read, self._freshness, self.shared.clock())

    def poll_ended(self, stream: StreamState, parked: Parked) -> Response:
        """Return 204; a reader that is ahead of the feed is at the tail that the table knows."""
        if stream.offset(stream.tail) != parked.position:
            active = self._table.peek(stream.path)
            known = stream if active is None or active.state is None else active.state
            if known.offset(known.tail) != parked.position:
                unknown = LogUnavailable("the log does not tell what follows offset")
                return self.shared.problem(unknown)
            stream = known
        read = renewed(self.reader_keys, parked.read)
        return responses.poll_ended(stream, read, self._freshness, self.shared.clock())

    async def late_poll(self, stream: StreamState, parked: Parked) -> Response | None:
        """Answer from the log a poll whose position the feed had already passed."""
        active = await self._table.load(stream.path)
        state = self._table.present(active)
        if parked.position == NOW:  # wherever that is since the log has lost its end
            position = state.offset(state.tail)
            return self.poll_ended(state, replace(parked, position=position))
        if parked.read.offset is None:  # the beginning, which may have moved on
            start = state.first
        else:
            start = position_of(state, parse_offset(parked.position, "offset"))
        if start == state.tail:
            return self.poll_ended(state, parked) if state.closed else None
        return self._data(parked, await self._reader.chunk_for(parked.read, state, start))

    def data_events(
        self, stream: StreamState, start: str, news: Sequence[Record]
    ) -> list[DataEvent] | None:
        """Return records as data events, cut where every catch-up read would cut them."""
        if news and news[-1].end - news[0].end + len(news[0].data) > self._reader.longest_round:
            return None
        begin = parse_offset(start, "position").position
        cut = chunks.cut(stream, begin, news)
        return [_data_event(self._reader.shaped(chunk)) for chunk in cut]

    def cached_event(self, stream: StreamState, start: str) -> DataEvent | None:
        """Return the cached data event of the chunk at `start`, or None."""
        entry = self._events.get(self._key(stream, start), self.shared.clock())
        return None if entry is None else DataEvent(entry.data_event, entry.end)

    async def read_event(self, stream: StreamState, start: str) -> DataEvent:
        """Read the data event of the chunk at `start` from the log."""
        key = (stream.stream_id, start, stream.version, stream.history)
        return await self._reads.read(key, lambda: self._event(stream, start))

    async def _event(self, stream: StreamState, start: str) -> DataEvent:
        position = position_of(stream, parse_offset(start, "position"))
        chunk = await self._reader.chunk(stream, position)
        body = read_body(chunk.state.content_type, chunk.records)
        data_event = await rendered(self._table.turns, chunk.state.content_type, body)
        event = DataEvent(data_event, chunk.state.offset(chunk.end))
        until_change = not chunk.complete
        if self._reader.is_current(chunk, until_change=until_change):
            kept_with = groups(stream, until_change=until_change)
            self._events.put(EventChunk(self._key(stream, start), kept_with, *event))
        return event

    def _key(self, stream: StreamState, start: str) -> Hashable:
        return stream.stream_id, start, self._reader.fold_version


def _data_event(chunk: Chunk) -> DataEvent:
    content_type = chunk.state.content_type
    body = read_body(content_type, chunk.records)
    return DataEvent(data_event(content_type, body), chunk.state.offset(chunk.end))
