"""The SSE readers of a feed: how they get from catch-up to live, and what they are sent.

A reader takes over its client's connection from the HTTP handler. It is an object without a task,
so that tens of thousands can wait. Each reader is in exactly one of these states, so it is sent
everything once:

- reading: the data after its position is being read for it;
- paused: its connection is full, and it continues from its position once that has drained;
- ahead: it was sent data that no round has reached yet, and it joins the rounds when they have;
- live: it is sent the rounds that it lacks when its turn comes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import override

from headgate_gateway.errors import HeadgateError
from headgate_gateway.live.feed_state import drain_times
from headgate_gateway.live.live_turns import LiveReader, LiveTurns
from headgate_gateway.live.source import N, V
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.streams import offsets
from headgate_gateway.protocol.streams.offsets import current_cursor
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.live.contract import DataEvent, ReaderClient
    from headgate_gateway.live.feed_state import FeedState, Round
    from headgate_gateway.telemetry.traffic import Ended

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds

FRESH_S = 1.0  # clients blame a broken proxy when three SSE connections end sooner than this


class SseReader(LiveReader, asyncio.Protocol):
    """An SSE response under way, and its connection. The client was sent all up to `position`.

    `reading` is the task that reads the data after `position`, if there is one. `on_end`, if
    given, is called with what has ended the response, and with the `sent_bytes` of its body.
    """

    __slots__ = (
        *("_chunked", "_has_input", "_on_lost", "_readers", "_resume_http", "client", "since"),
        *("counted_bytes", "on_end", "paused", "principal", "reading", "sent_bytes", "transport"),
    )

    def __init__(  # noqa: PLR0913 - of a response, its client and its server
        self,
        transport: asyncio.Transport,
        readers: SseReaders[Any, Any],
        position: str,
        cursor: int,
        *,
        chunked: bool,
        on_lost: Callable[[asyncio.Transport], None],
        resume_http: Callable[[asyncio.Transport], None],
        client: ReaderClient,
        on_end: Callable[[Ended, int], None] | None = None,
    ) -> None:
        """Call `on_lost` if the connection is lost, and `resume_http` when the response has ended.

        The latter serves the client's next request.
        """
        super().__init__(position, cursor)
        self.transport = transport
        self._readers = readers
        self._chunked = chunked
        self._on_lost = on_lost
        self._resume_http = resume_http
        self.on_end = on_end
        self._has_input = False
        self.client = client
        self.since = readers.feed.loop.time()
        self.sent_bytes = self.counted_bytes = 0
        self.principal: Principal | None = None  # set where its route has a guard
        self.reading: asyncio.Task[DataEvent] | None = None
        self.paused = False
        transport.set_write_buffer_limits(high=HIGH_WATER)

    # Its connection

    @override
    def data_received(self, data: bytes) -> None:
        """Note that the client has sent something: the connection will end with the response."""
        self._has_input = True

    @override
    def eof_received(self) -> bool:
        """Close the connection, because the client has closed its side."""
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._readers.remove(self, "client")
        self._on_lost(self.transport)

    @override
    def pause_writing(self) -> None:
        """Stop writing to a client that does not keep up; nothing is queued for it."""
        self.paused = True
        readers = self._readers
        readers.turns.remove(self)
        if self in readers:
            readers.traffic.detached += 1
            readers.traffic.slow.add(self)

    @override
    def resume_writing(self) -> None:
        """Continue from the reader's position, now that the client has read everything sent."""
        self.paused = False
        self._readers.traffic.slow.discard(self)
        self.advance()

    def unsent_bytes(self) -> int:
        """Return the number of bytes that wait to be written to the socket."""
        return self.transport.get_write_buffer_size()

    @override
    def write(self, framed: bytes, size: int) -> None:
        self.sent_bytes += size
        self.transport.write(framed if self._chunked else http1.unframe(framed))

    def end(self) -> None:
        """End the response; the connection serves the client's next request if it can."""
        if self._chunked:
            source, trailers = self._readers.feed.source, b""
            if self.client.accepts_trailers:
                trailers = source.trailers(self.position, closed=self.is_at_end())
            self.transport.write(http1.last_chunk(trailers))
            if not (self._has_input or self.paused):
                self._resume_http(self.transport)
                return
        self.transport.close()

    def cut(self, transport: asyncio.Transport) -> None:
        """Abort the connection, whose client receives nothing, also after the end."""
        self._readers.drop(self, "slow")
        transport.abort()

    # From catch-up to live

    @override
    def advance(self, event: DataEvent | None = None) -> None:
        """Send `event`, if given, then join the rounds if they are there, else read what follows.

        An exception cuts the reader off, whose client resumes from its offset.
        """
        try:
            self._advance(event)
        except Exception:  # noqa: BLE001 - the reader would wait for ever
            log.exception("events.untold")
            self._readers.drop(self)

    def _advance(self, event: DataEvent | None) -> None:
        readers = self._readers
        feed, source = readers.feed, readers.feed.source
        while True:
            if event is not None:
                self.position = event.end
                self._go_on(event.rendered)
            if self.reading or self.paused or self not in readers:
                return
            if self.position > feed.position:
                readers.ahead[self] = None
                return
            if self.position == feed.position:
                readers.turns.join(self)
                if not self.is_up_to_date or self.is_at_end():
                    self._go_on()
                return
            event = source.cached_event(feed.stream, self.position)
            if event is None:
                read = source.read_event(feed.stream, self.position)
                self.reading = asyncio.get_running_loop().create_task(read)
                self.reading.add_done_callback(self._read)
                return

    def _go_on(self, data_event: bytes = b"") -> None:
        self.send_events(data_event)
        if self.is_at_end():
            self.finish()

    @override
    def finish(self) -> None:
        if not self.paused:  # else once the client has most of what was sent
            self._readers.finish(self, "closed")

    def _read(self, done: asyncio.Task[DataEvent]) -> None:
        self.reading = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or self not in self._readers:
            return
        if error is not None:
            if not isinstance(error, HeadgateError):
                log.error("events.unreadable", reason=repr(error))
            self._readers.drop(self)  # the client resumes from its offset, and gets the error
            return
        event = done.result()
        if event.end == self.position:  # the read does not have the newest data yet
            self._readers.ahead[self] = None
        else:
            self.advance(event)

    def is_at_end(self) -> bool:
        """Return whether the reader was sent all of a closed stream."""
        feed = self._readers.feed
        return feed.closed and self.position == feed.tail

    def send_events(self, data_event: bytes = b"") -> None:
        """Send a control event with the reader's position, after `data_event` if there is one.

        Both events are one chunk: clients that read a body chunk by chunk see the two together.
        """
        self.is_up_to_date = self.position == self._readers.feed.tail
        start = self.take_start()
        control_event = self._readers.control_event(self.position, self.cursor, start)
        size = len(data_event) + len(control_event)
        self._readers.traffic.wrote_events(1, size, 1 if data_event else 0)
        self.sent_bytes += size
        if not size:
            return  # an empty chunk would be the last
        if self._chunked:
            self.transport.writelines(http1.chunk_parts(data_event, control_event))
        else:
            self.transport.write(data_event + control_event)


class SseReaders(Generic[V, N]):
    """The SSE readers that a feed serves, each until its time is over.

    `turns` has the live readers, and `ahead` those that are past the feed's position.
    """

    __slots__ = (
        *("_hurries", "_last_write", "_settings", "_services", "ahead", "ends", "feed"),
        *("traffic", "turns"),
    )

    def __init__(self, feed: FeedState[V]) -> None:
        self.feed = feed
        self._settings = feed.source.settings
        self._services = feed.source.services
        self.traffic = feed.source.traffic.live
        self._hurries = False
        self.ends: dict[SseReader, float] = {}  # end of its time (loop time), the oldest first
        self.ahead: dict[SseReader, None] = {}
        self.turns: LiveTurns[V, N] = LiveTurns(feed, self.control_event)
        self._last_write = self.feed.loop.time()

    def __len__(self) -> int:
        return len(self.ends)

    def __contains__(self, reader: SseReader) -> bool:
        return reader in self.ends

    def __iter__(self) -> Iterator[SseReader]:
        """Iterate over the readers that are served when it begins."""
        return iter(list(self.ends))

    def add(self, reader: SseReader) -> float:
        """Serve a reader; return the latest time at which something is due for it (loop time)."""
        self.traffic.sse.joins += 1
        if reader.principal is not None:
            self._services.admitted.add(reader, reader.principal, partial(self.end, reader))
        end = self.ends[reader] = self.feed.loop.time() + self._settings.sse_max_age
        return min(end, self._last_write + self._settings.heartbeat)

    def finish(self, reader: SseReader, ended: Ended) -> None:
        """End a response with its last chunk."""
        if self.remove(reader, ended):
            try:
                reader.end()
            except BaseException:
                reader.transport.abort()
                raise

    def end(self, reader: SseReader, ended: Ended) -> None:
        """End the response of a reader whose time is over, with a last control event."""
        if reader.paused:  # the event would wait behind what it does not read
            self.drop(reader, "slow" if ended in {"timeout", "drain"} else ended)
        elif reader in self:
            if reader.position != offsets.BEGINNING:  # which no control event names
                reader.send_events()  # also in the state "reading": some clients throw without it
            self.finish(reader, ended)

    def drop(self, reader: SseReader, ended: Ended = "error") -> None:
        """Close the reader's connection at once, whose client resumes from its offset."""
        if self.remove(reader, ended):
            reader.transport.abort()

    def remove(self, reader: SseReader, ended: Ended) -> bool:
        """Remove a reader, for example one that disconnected; return whether it was served."""
        self.turns.remove(reader)
        self.ahead.pop(reader, None)
        self.traffic.slow.discard(reader)
        if reader.reading is not None:
            reader.reading.cancel()  # it may hold a place at the origin
        if self.ends.pop(reader, None) is None:
            return False
        if reader.principal is not None:
            self._services.admitted.discard(reader, reader.principal)
        self.traffic.sse.departures[ended] += 1
        self.feed.release_reader()
        if reader.on_end is not None:
            reader.on_end(ended, reader.sent_bytes)
        self._services.count_live(reader)  # last: it gives nothing back
        return True

    def finish_all(self) -> None:
        """Send all readers the remaining rounds, then end their responses with the last chunk."""
        self.turns.send_rest()
        for reader in self:
            self.finish(reader, "closed")

    def drop_all(self) -> None:
        """Close the connections of all readers at once."""
        self.turns.stop()
        for reader in self:
            self.drop(reader)

    # Rounds

    def write_round(self, one: Round[N]) -> None:
        """Start to send a round to the live readers."""
        self._last_write = self.feed.loop.time()
        self.turns.send_round(one)

    def control_event(self, position: str, floor: int, start: str = "") -> bytes:
        """Return the event for a reader at `position`; its cursors are at least `floor`."""
        at_tail = position == self.feed.tail and self.feed.caught_up
        closed, now = at_tail and self.feed.closed, current_cursor(self._services.clock())
        return self.feed.source.control_event(
            position, max(floor, now), up_to_date=at_tail, closed=closed, start=start
        )

    def advance_ahead(self) -> None:
        """Let readers that were ahead join the rounds, if these have reached their positions."""
        ahead, self.ahead = self.ahead, {}
        for reader in ahead:
            reader.advance()

    # Time

    def due(self, now: float) -> float:
        """Return the time at which the oldest response ends or a heartbeat is due (loop time)."""
        heartbeat = self._settings.heartbeat
        beat = self._last_write + heartbeat
        return min(next(iter(self.ends.values()), inf), beat if beat > now else now + heartbeat)

    def tick(self, now: float) -> None:
        """End the responses whose time is over, and send heartbeats if they are due."""
        for reader, end in list(self.ends.items()):
            if end > now:
                break
            self.end(reader, "drain" if self._hurries else "timeout")
        if self.turns.live and now >= self._last_write + self._settings.heartbeat:
            self.turns.send_heartbeats(list(self.turns.live))
            self._last_write = now

    def hurry(self, now: float) -> None:
        """End the time of every response soon, in lots; of a new one when it is FRESH_S old."""
        self._hurries = True
        begun_before = now - FRESH_S + self._settings.sse_max_age
        times = drain_times(now, len(self.ends))
        for (reader, end), at in zip(list(self.ends.items()), times, strict=True):
            self.ends[reader] = min(end, at if end <= begun_before else max(at, now + FRESH_S))
