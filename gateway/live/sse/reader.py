"""An SSE response under way, which takes over its client's connection from the HTTP handler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.live.sse.overdue_readers import unread_bytes
from gateway.protocol import http1
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.live.admitted_readers import PrincipalLike
    from gateway.live.contract import DataEvent, FeedSource, FeedState, ReaderClient, ReaderServer
    from gateway.live.live_turns import LiveTurns
    from gateway.telemetry.live_traffic import Ended, LiveTraffic

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds
LAST_BYTES_S = 30.0  # for a slow client to read the rest of a response that has ended


class SseReadersLike(Protocol):
    """The readers of a feed, as one of them uses them."""

    feed: FeedState[Any]
    source: FeedSource[Any, Any]
    traffic: LiveTraffic
    turns: LiveTurns[Any, Any]
    ahead: dict[SseReader, None]

    def __contains__(self, reader: SseReader, /) -> bool:
        """Return whether the reader is still served."""

    def control_event(self, position: str, floor: int) -> bytes:
        """Return the control event for a reader at `position`; its cursors are at least `floor`."""

    def resume(self, reader: SseReader) -> None:
        """Continue with a reader that was paused, or end its response if its time is over."""

    def finish(self, reader: SseReader) -> None:
        """End the response of a closed stream, once the reader has most of what was sent."""

    def remove(self, reader: SseReader) -> None:
        """Remove a reader whose client has disconnected."""

    def drop(self, reader: SseReader) -> None:
        """Close the reader's connection at once, whose client resumes from its offset."""


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
        readers: SseReadersLike,
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
        self._readers.resume(self)

    def unsent_bytes(self) -> int:
        """Return the number of bytes that wait to be written to the socket."""
        return self._transport.get_write_buffer_size()

    def unread_bytes(self) -> int:
        """Return the number of written bytes that the client has not received yet."""
        return unread_bytes(self._transport)

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
        if self._chunked:
            trailers = self._readers.source.trailers(self.position, closed=self.is_at_end())
            self._transport.write(http1.last_chunk(trailers))
            if not (self._has_input or self.paused) and self._server.resume_http(self._transport):
                return
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
                if not self.is_up_to_date or self.is_at_end():
                    self.send_events()
                if self.is_at_end():
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
        if self.is_at_end():
            self._readers.finish(self)

    def is_at_end(self) -> bool:
        """Return whether the reader was sent all of a closed stream."""
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
