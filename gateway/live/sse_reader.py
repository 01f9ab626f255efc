"""One SSE reader: a transport, and where its client is in the stream.

It takes the connection over from the HTTP handler once the head is written. A reader is this
object and no task, so that tens of thousands can wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from gateway.protocol import http1

if TYPE_CHECKING:
    from gateway.live.contract import Cut
    from gateway.live.feed import Feed

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds


class ReaderHost(Protocol):
    """Whom a reader has its connection from."""

    def reader_lost(self) -> None:
        """The connection is gone."""

    def take_back(self, transport: asyncio.Transport) -> None:
        """The answer is over: serve the next request."""


class SseReader(asyncio.Protocol):
    """`position` is what has been written to the client; `cursor` a floor for its cursors, or 0."""

    __slots__ = (
        "_chunked",
        "_feed",
        "_heard",
        "_host",
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
        feed: Feed[Any, Any],
        position: str,
        cursor: int,
        *,
        chunked: bool,
        host: ReaderHost,
    ) -> None:
        self._transport = transport
        self._feed = feed
        self._chunked = chunked
        self._host = host
        self._heard = False
        self.position = position
        self.cursor = cursor
        self.reading: asyncio.Task[Cut] | None = None  # of what it is to be told next
        self.paused = False
        self.told_tail = False  # the last control event said that it is up to date
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing is kept
        """Nothing is expected before the answer's end; the connection then ends with it."""
        self._heard = True

    def eof_received(self) -> bool:
        """The client is gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Leave the feed."""
        self._feed.gone(self)
        self._host.reader_lost()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.paused = True
        self._feed.fell_behind(self)

    def resume_writing(self) -> None:
        """The client has read what it was sent: bring it on from where it is."""
        self.paused = False
        self._feed.advance(self)

    def write(self, framed: bytes) -> None:
        """Write what is one or more chunks of a chunked body."""
        self._transport.write(framed if self._chunked else http1.unframe(framed))

    def write_events(self, data_event: bytes, control_event: bytes) -> None:
        """Write a data event of many readers and this one's control event as one chunk.

        Clients that take a body chunk by chunk then see the two together.
        """
        if not self._chunked:
            self._transport.write(data_event + control_event)
            return
        self._transport.writelines(http1.chunk_parts(data_event, control_event))

    def end(self) -> None:
        """End the answer; the connection goes on with the client's next request where it can."""
        if not self._chunked:
            self._transport.close()
            return
        self._transport.write(http1.LAST_CHUNK)
        if self._heard or self.paused:
            self._transport.close()
        else:
            self._host.take_back(self._transport)

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        self._transport.abort()
