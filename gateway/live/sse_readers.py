"""The SSE readers of a feed: those who are live get each round's bytes, and all end in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, V
from gateway.live.data_event import DataEvent
from gateway.protocol import http1, sse
from gateway.protocol.cursors import current_cursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.contract import FeedSource, FeedState
    from gateway.live.sse_reader import SseReader

    _Piece = tuple[bytes, str, bool]  # a chunk, where its data ends, and whether that is the tail

FRESH_S = 1.0  # clients take three SSE connections shorter than this for a broken proxy


class SseReaders(Generic[V, N]):
    """`live` are those at the feed's position who can be written to.

    Those who are `ahead` were read for up to past that position.
    """

    __slots__ = ("_ends", "_last_write", "ahead", "feed", "live", "source")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self.feed = feed
        self.source = source
        self._ends: dict[SseReader, float] = {}  # until when (loop time), the oldest reader first
        self.live: dict[SseReader, None] = {}
        self.ahead: dict[SseReader, None] = {}
        self._last_write = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, reader: SseReader) -> bool:
        """Whether a reader is served still."""
        return reader in self._ends

    def add(self, reader: SseReader) -> float:
        """Serve a reader; when something is due for it at the latest (loop time)."""
        settings = self.source.settings
        end = self._ends[reader] = asyncio.get_running_loop().time() + settings.sse_max_age
        return min(end, self._last_write + settings.heartbeat)

    def gone(self, reader: SseReader) -> None:
        """The reader's connection is lost."""
        if self._forget(reader):
            self.feed.left()

    def finish(self, reader: SseReader) -> None:
        """End the reader's answer properly."""
        if self._forget(reader):
            try:
                reader.end()
            except BaseException:
                reader.abort()
                raise
            finally:
                self.feed.left()

    def drop(self, reader: SseReader) -> None:
        """Cut the reader off: it resumes by offset on a new connection."""
        if self._forget(reader):
            reader.abort()
            self.feed.left()

    def _forget(self, reader: SseReader) -> bool:
        self.live.pop(reader, None)
        self.ahead.pop(reader, None)
        if reader.reading is not None:
            reader.reading.cancel()  # it may hold a place at the origin
        return self._ends.pop(reader, None) is not None

    def finish_all(self) -> None:
        """End every answer properly."""
        for reader in list(self._ends):
            self.finish(reader)

    def drop_all(self) -> None:
        """Cut every reader off."""
        for reader in list(self._ends):
            self.drop(reader)

    # Rounds

    def write_round(self, start: str, news: Sequence[N], now: float) -> None:
        """Write the news that follow `start` to those who are live, rendered once for them all."""
        self._last_write = now
        readers = list(self.live)
        if not readers:
            return
        events = self.source.data_events(self.feed.stream, start, news)
        if events is None:  # one after the other is brought on as if it had been away
            self.live.clear()
            for reader in readers:
                reader.advance()
            return
        events = events or [DataEvent(b"", self.feed.tail)]
        rendered: dict[int, list[_Piece]] = {}
        for reader in readers:
            pieces = rendered.get(reader.cursor)
            if pieces is None:
                pieces = rendered[reader.cursor] = self._pieces(events, reader.cursor)
            self._write(reader, pieces)

    def _pieces(self, events: list[DataEvent], floor: int) -> list[_Piece]:
        tail = self.feed.tail
        return [
            (http1.chunk(data + self.control_event(end, floor)), end, end == tail)
            for data, end in events
        ]

    def _write(self, reader: SseReader, pieces: list[_Piece]) -> None:
        for piece, end, is_tail in pieces:
            if reader not in self.live:
                return  # its connection is full
            reader.write(piece)
            reader.position = end
            reader.told_tail = is_tail
        if self.feed.closed:
            self.finish(reader)

    def control_event(self, position: str, floor: int) -> bytes:
        """What tells a reader that it is at `position`; its cursors are at least `floor`."""
        at_tail = position == self.feed.tail and self.feed.caught_up
        return sse.control_event(
            position,
            max(floor, current_cursor(self.source.shared.clock())),
            up_to_date=at_tail,
            closed=at_tail and self.feed.closed,
        )

    def advance_ahead(self) -> None:
        """Let those who are ahead join the rounds, which may have come to where they are."""
        ahead, self.ahead = self.ahead, {}
        for reader in ahead:
            reader.advance()

    # Time

    def due(self, now: float) -> float:
        """When the oldest answer is to end, or the next heartbeat is due (loop time)."""
        heartbeat = self.source.settings.heartbeat
        beat = self._last_write + heartbeat
        return min(next(iter(self._ends.values())), beat if beat > now else now + heartbeat)

    def end_old(self, now: float) -> None:
        """End the answers whose time is over."""
        for reader, end in list(self._ends.items()):
            if end > now:
                break
            if reader.paused:  # what it was sent would never leave
                self.drop(reader)
                continue
            if reader.reading is None:
                reader.tell()
            self.finish(reader)

    def beat(self, now: float) -> None:
        """Write a heartbeat to those who are live, when nothing was written for so long."""
        if self.live and now >= self._last_write + self.source.settings.heartbeat:
            heartbeat = http1.chunk(sse.HEARTBEAT)
            for reader in list(self.live):
                reader.write(heartbeat)
            self._last_write = now

    def hurry(self, now: float) -> None:
        """Let every answer's time be over now, or when it is no longer fresh."""
        begun_before = now - FRESH_S + self.source.settings.sse_max_age
        for reader, end in list(self._ends.items()):
            self._ends[reader] = min(end, now if end <= begun_before else now + FRESH_S)
