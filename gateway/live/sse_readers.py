"""The SSE readers of a feed: how they get from catch-up to live, and what they are sent.

A reader takes over its connection from the HTTP handler once the head is written. It is an object
without a task, so that tens of thousands can wait. Each reader is in exactly one of these states,
so it is sent everything once:

- reading: the data behind its position is being read for it;
- paused: its connection is full, and it continues from its position once that has drained;
- ahead: it was sent data that no round has reached yet, and it joins the rounds when they have;
- live: it is sent the rounds that it lacks when its turn comes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.live.contract import DataEvent, N, V
from gateway.live.drain_times import drain_times
from gateway.live.live_turns import LiveTurns
from gateway.protocol import http1
from gateway.protocol.cursors import current_cursor
from gateway.protocol.streams import offsets
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.live.admitted_readers import PrincipalLike
    from gateway.live.contract import FeedSource, FeedState, ReaderClient, ReaderServer
    from gateway.live.event_rounds import Round
    from gateway.telemetry.live_traffic import Ended

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds
LAST_BYTES_S = 30.0  # for a slow client to read the rest of a response that has ended
FRESH_S = 1.0  # clients blame a broken proxy when three SSE connections end sooner than this


class SseReaders(Generic[V, N]):
    """The SSE readers that a feed serves, each until its time is over.

    `turns` has the live readers, and `ahead` those that are past the feed's position.
    """

    __slots__ = ("_hurries", "_last_write", "ahead", "ends", "feed", "source", "traffic", "turns")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self.feed = feed
        self.source = source
        self.traffic = source.traffic.live
        self._hurries = False
        self.ends: dict[SseReader, float] = {}  # end of its time (loop time), the oldest first
        self.ahead: dict[SseReader, None] = {}
        self.turns = LiveTurns(feed, source, self)
        self._last_write = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        return len(self.ends)

    def __contains__(self, reader: SseReader) -> bool:
        """Return whether the reader is still served."""
        return reader in self.ends

    def add(self, reader: SseReader) -> float:
        """Serve a reader; return the latest time at which something is due for it (loop time)."""
        settings = self.source.settings
        self.traffic.sse.joins += 1
        if reader.principal is not None:
            self.source.shared.admitted.add(reader, partial(self.end, reader))
        end = self.ends[reader] = asyncio.get_running_loop().time() + settings.sse_max_age
        return min(end, self._last_write + settings.heartbeat)

    def remove(self, reader: SseReader) -> None:
        """Remove a reader whose client has disconnected."""
        if self._forget(reader, "client"):
            self.feed.release_reader()

    def finish(self, reader: SseReader, ended: Ended = "closed") -> None:
        """End the reader's response with its last chunk."""
        if self._forget(reader, ended):
            try:
                reader.end()
            except BaseException:
                reader.abort()
                raise
            finally:
                self.feed.release_reader()

    def end(self, reader: SseReader, ended: Ended) -> None:
        """End the response of a reader whose time is over, with a last control event."""
        if reader.paused:  # a control event would wait behind what it does not read
            self.drop(reader, "slow" if ended in {"timeout", "drain"} else ended)
        elif reader in self.ends:
            if reader.position != offsets.BEGINNING:  # which no control event names
                reader.send_events()  # also in the state "reading": some clients throw without it
            self.finish(reader, ended)

    def drop(self, reader: SseReader, ended: Ended = "error") -> None:
        """Close the reader's connection at once, whose client resumes from its offset."""
        if self._forget(reader, ended):
            reader.abort()
            self.feed.release_reader()

    def _forget(self, reader: SseReader, ended: Ended) -> bool:
        self.turns.remove(reader)
        self.ahead.pop(reader, None)
        self.traffic.slow.discard(reader)
        if reader.reading is not None:
            reader.reading.cancel()  # it may hold a place at the origin
        if self.ends.pop(reader, None) is None:
            return False
        if reader.principal is not None:
            self.source.shared.admitted.discard(reader)
            reader.principal.use.sent_bytes += reader.sent_bytes
        self.traffic.sse.departures[ended] += 1
        reader.note_end(ended)
        return True

    def finish_all(self) -> None:
        """Send all readers the remaining rounds, then end their responses with the last chunk."""
        self.turns.send_rest()
        for reader in list(self.ends):
            self.finish(reader)

    def drop_all(self) -> None:
        """Close the connections of all readers at once."""
        self.turns.stop()
        for reader in list(self.ends):
            self.drop(reader)

    # Rounds

    def write_round(self, one: Round[N]) -> int:
        """Start to send a round to the live readers; return how many of them it has news for."""
        self._last_write = asyncio.get_running_loop().time()
        return self.turns.send_round(one)

    def control_event(self, position: str, floor: int) -> bytes:
        """Return the control event for a reader at `position`; its cursors are at least `floor`."""
        at_tail = position == self.feed.tail and self.feed.caught_up
        return self.source.control_event(
            position,
            max(floor, current_cursor(self.source.shared.clock())),
            up_to_date=at_tail,
            closed=at_tail and self.feed.closed,
        )

    def advance_ahead(self) -> None:
        """Let readers that were ahead join the rounds, if these have reached their positions."""
        ahead, self.ahead = self.ahead, {}
        for reader in ahead:
            reader.advance()

    # Time

    def due(self, now: float) -> float:
        """Return the time at which the oldest response ends or a heartbeat is due (loop time)."""
        heartbeat = self.source.settings.heartbeat
        beat = self._last_write + heartbeat
        return min(next(iter(self.ends.values())), beat if beat > now else now + heartbeat)

    def tick(self, now: float) -> None:
        """End the responses whose time is over, and send heartbeats if they are due."""
        for reader, end in list(self.ends.items()):
            if end > now:
                break
            self.end(reader, "drain" if self._hurries else "timeout")
        if self.turns.live and now >= self._last_write + self.source.settings.heartbeat:
            self.turns.send_heartbeats()
            self._last_write = now

    def hurry(self, now: float) -> None:
        """End the time of every response soon, in lots; of a new one when it is FRESH_S old."""
        self._hurries = True
        settings = self.source.settings
        begun_before = now - FRESH_S + settings.sse_max_age
        times = drain_times(now, len(self.ends), settings.drain_time)
        for (reader, end), at in zip(list(self.ends.items()), times, strict=True):
            self.ends[reader] = min(end, at if end <= begun_before else max(at, now + FRESH_S))


class SseReader(asyncio.Protocol):
    """An SSE response under way, and its connection. The client was sent all up to `position`.

    `cursor` is the least cursor that it may be sent, or 0. `rounds_sent` counts the feed's rounds
    while the reader is live. `on_end`, if given, is called with what has ended the response, and
    with `sent_bytes`, those of its body.
    """

    __slots__ = (
        "_chunked",
        "_has_input",
        "_on_end",
        "_readers",
        "_server",
        "_transport",
        "client",
        "cursor",
        "is_up_to_date",
        "paused",
        "position",
        "principal",
        "reading",
        "rounds_sent",
        "sent_bytes",
        "since",
    )

    def __init__(  # noqa: PLR0913 - of a response, its client and its server
        self,
        transport: asyncio.Transport,
        readers: SseReaders[Any, Any],
        position: str,
        cursor: int,
        *,
        chunked: bool,
        server: ReaderServer,
        client: ReaderClient,
        on_end: Callable[[Ended, int], None] | None = None,
    ) -> None:
        self._transport = transport
        self._readers = readers
        self._chunked = chunked
        self._server = server
        self._on_end = on_end
        self._has_input = False
        self.client = client
        self.since = asyncio.get_running_loop().time()
        self.sent_bytes = 0
        self.position = position
        self.cursor = cursor
        self.principal: PrincipalLike | None = None  # set where its route has a guard
        self.reading: asyncio.Task[DataEvent] | None = None  # reads the data behind `position`
        self.paused = False
        self.rounds_sent = 0
        self.is_up_to_date = False  # as its last control event said
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
        """Leave the feed."""
        self._readers.remove(self)
        self._server.reader_lost(self._transport)

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
        return self._transport.get_write_buffer_size()

    def write(self, framed: bytes, size: int) -> None:
        """Write a chunk of a chunked body, which has `size` bytes without its framing."""
        self.sent_bytes += size
        self._transport.write(framed if self._chunked else http1.unframe(framed))

    def note_end(self, ended: Ended) -> None:
        """Report the end of the response: what has ended it, and the bytes of its body."""
        if self._on_end is not None:
            self._on_end(ended, self.sent_bytes)

    def end(self) -> None:
        """End the response; the connection serves the client's next request if it can."""
        if not self._chunked:
            self._transport.close()
            return
        trailers = self._readers.source.trailers(self.position, closed=self._is_at_end())
        self._transport.write(http1.last_chunk(trailers))
        if self._has_input or self.paused or not self._server.resume_http(self._transport):
            self._transport.close()
            # A client that does not read the rest would keep the connection for ever.
            asyncio.get_running_loop().call_later(LAST_BYTES_S, self._transport.abort)

    def abort(self) -> None:
        """Close the connection at once, and drop what is unsent."""
        self._transport.abort()

    # From catch-up to live

    def advance(self, event: DataEvent | None = None) -> None:
        """Send `event`, if given, then join the rounds if they are there, else read what follows.

        An exception cuts the reader off, whose client resumes from its offset.
        """
        try:
            if event is not None:
                self._go_on(event)
            self._advance()
        except Exception:  # noqa: BLE001 - the reader would wait for ever
            log.exception("events.untold")
            self._readers.drop(self)

    def _advance(self) -> None:
        readers = self._readers
        feed, source = readers.feed, readers.source
        while self in readers and not (self.reading or self.paused):
            if self.position > feed.position:
                readers.ahead[self] = None
                return
            if self.position == feed.position:
                readers.turns.join(self)
                if not self.is_up_to_date or self._is_at_end():
                    self.send_events()
                if self._is_at_end():
                    readers.finish(self)
                return
            event = source.cached_event(feed.stream, self.position)
            if event is None:
                read = source.read_event(feed.stream, self.position)
                self.reading = asyncio.get_running_loop().create_task(read)
                self.reading.add_done_callback(self._read)
                return
            self._go_on(event)

    def finish(self) -> None:
        """End the response: the stream is closed, and all of it was sent."""
        self._readers.finish(self)

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

    def _go_on(self, event: DataEvent) -> None:
        self.position = event.end
        self.send_events(event.rendered)
        if self._is_at_end():
            self._readers.finish(self)

    def _is_at_end(self) -> bool:
        feed = self._readers.feed
        return feed.closed and self.position == feed.tail

    def send_events(self, data_event: bytes = b"") -> None:
        """Send a control event with the reader's position, behind `data_event` if there is one.

        Both events are one chunk: clients that read a body chunk by chunk see the two together.
        """
        self.is_up_to_date = self.position == self._readers.feed.tail
        control_event = self._readers.control_event(self.position, self.cursor)
        size = len(data_event) + len(control_event)
        self._readers.traffic.wrote_events(1, size, 1 if data_event else 0)
        self.write_events(data_event, control_event)

    def write_events(self, data_event: bytes, control_event: bytes) -> None:
        """Write both events as one chunk."""
        self.sent_bytes += len(data_event) + len(control_event)
        if not (data_event or control_event):
            return  # an empty chunk would be the last
        if self._chunked:
            self._transport.writelines(http1.chunk_parts(data_event, control_event))
        else:
            self._transport.write(data_event + control_event)
