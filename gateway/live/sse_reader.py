"""One SSE reader: its connection, and how it comes from catch-up to live.

It takes the connection over from the HTTP handler once the head is written. A reader is this
object and no task, so that tens of thousands can wait.

A reader that is served is in exactly one of these states, so it is told everything once:

- reading: what follows its position is being read for it;
- paused: its connection is full, and it goes on from its position when that has drained;
- ahead: what was read for it goes past the rounds, and it joins when they have come there;
- live: it is at the position of the rounds, and the next one begins with what it lacks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import HeadgateError
from gateway.protocol import http1
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.live.contract import FeedSource, FeedState
    from gateway.live.data_event import DataEvent

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds


class ReaderServer(Protocol):
    """Whom a reader has its connection from."""

    def reader_lost(self) -> None:
        """The connection is gone."""

    def take_back(self, transport: asyncio.Transport) -> None:
        """The answer is over: serve the next request."""


class Readers(Protocol):
    """The readers of a feed, to which one belongs: those who are `live`, and who are `ahead`."""

    feed: FeedState[Any]
    source: FeedSource[Any, Any]
    live: dict[SseReader, None]
    ahead: dict[SseReader, None]

    def __contains__(self, reader: SseReader) -> bool:
        """Whether the reader is served still."""

    def control_event(self, position: str, floor: int) -> bytes:
        """What tells a reader that it is at `position`; its cursors are at least `floor`."""

    def finish(self, reader: SseReader) -> None:
        """End the reader's answer properly."""

    def drop(self, reader: SseReader) -> None:
        """Cut the reader off: it resumes by offset on a new connection."""

    def gone(self, reader: SseReader) -> None:
        """The reader's connection is lost."""


class SseReader(asyncio.Protocol):
    """`position` is what has been written to the client; `cursor` a floor for its cursors, or 0."""

    __slots__ = (
        "_chunked",
        "_heard",
        "_readers",
        "_server",
        "_transport",
        "cursor",
        "paused",
        "position",
        "reading",
        "told_tail",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        readers: Readers,
        position: str,
        cursor: int,
        *,
        chunked: bool,
        server: ReaderServer,
    ) -> None:
        self._transport = transport
        self._readers = readers
        self._chunked = chunked
        self._server = server
        self._heard = False
        self.position = position
        self.cursor = cursor
        self.reading: asyncio.Task[DataEvent] | None = None  # of what it is to be told next
        self.paused = False
        self.told_tail = False  # the last control event said that it is up to date
        transport.set_write_buffer_limits(high=HIGH_WATER)

    # Its connection

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing is kept
        """Nothing is expected before the answer's end; the connection then ends with it."""
        self._heard = True

    def eof_received(self) -> bool:
        """The client is gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Leave the feed."""
        self._readers.gone(self)
        self._server.reader_lost()

    def pause_writing(self) -> None:
        """The client does not keep up: no queue is kept, it will catch up from the log."""
        self.paused = True
        self._readers.live.pop(self, None)

    def resume_writing(self) -> None:
        """The client has read what it was sent: bring it on from where it is."""
        self.paused = False
        self.advance()

    def write(self, framed: bytes) -> None:
        """Write what is one or more chunks of a chunked body."""
        self._transport.write(framed if self._chunked else http1.unframe(framed))

    def end(self) -> None:
        """End the answer; the connection goes on with the client's next request where it can."""
        if not self._chunked:
            self._transport.close()
            return
        self._transport.write(http1.LAST_CHUNK)
        if self._heard or self.paused:
            self._transport.close()
        else:
            self._server.take_back(self._transport)

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        self._transport.abort()

    # From catch-up to live

    def advance(self, event: DataEvent | None = None) -> None:
        """Go on: into the rounds from where they are, else by what is read; `event` comes first.

        A reader that cannot be told, whatever raises, is cut off, and resumes by offset.
        """
        try:
            if event is not None:
                self._go_on(event)
            self._advance()
        except Exception:  # noqa: BLE001 - it would wait for ever
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
                readers.live[self] = None
                if not self.told_tail or self._is_at_end():
                    self.tell()
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

    def _read(self, done: asyncio.Task[DataEvent]) -> None:
        self.reading = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or self not in self._readers:
            return
        if error is not None:
            if not isinstance(error, HeadgateError):
                log.error("events.unreadable", reason=repr(error))
            self._readers.drop(self)  # the client resumes by offset, and is told why it cannot
            return
        event = done.result()
        if event.end == self.position:  # nothing yet of what the feed has heard of
            self._readers.ahead[self] = None
        else:
            self.advance(event)

    def _go_on(self, event: DataEvent) -> None:
        self.position = event.end
        self.tell(event.rendered)
        if self._is_at_end():
            self._readers.finish(self)

    def _is_at_end(self) -> bool:
        feed = self._readers.feed
        return feed.closed and self.position == feed.tail

    def tell(self, data_event: bytes = b"") -> None:
        """Tell the client where it is now, after the data that it has caught up with.

        Both events are one chunk: clients that take a body chunk by chunk see the two together.
        """
        self.told_tail = self.position == self._readers.feed.tail
        control_event = self._readers.control_event(self.position, self.cursor)
        if self._chunked:
            self._transport.writelines(http1.chunk_parts(data_event, control_event))
        else:
            self._transport.write(data_event + control_event)
