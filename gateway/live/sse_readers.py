"""The SSE readers of a feed: how they come from catch-up to live, and what they are written.

A reader takes its connection over from the HTTP handler once the head is written. It is an object
and no task, so that tens of thousands can wait. Each is in exactly one of these states, so it is
told everything once:

- reading: what follows its position is being read for it;
- paused: its connection is full, and it goes on from its position when that has drained;
- ahead: what was read for it goes past the rounds, and it joins when they have come there;
- live: it is told of the rounds that it lacks when its turn comes.
"""

from __future__ import annotations

import asyncio
import heapq
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.live.contract import DataEvent, N, V
from gateway.live.live_turns import LiveTurns
from gateway.protocol import http1
from gateway.protocol.bodies import sse
from gateway.protocol.cursors import current_cursor
from gateway.protocol.streams import offsets
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.live.admitted import Holder
    from gateway.live.contract import FeedSource, FeedState, ReaderServer
    from gateway.live.event_rounds import Round
    from gateway.telemetry.live_traffic import Ended

HIGH_WATER = 64 * 1024  # bytes a connection may hold unsent before the reader leaves the rounds
LAST_BYTES_S = 30.0  # for a slow client to take what is left of an answer that is over
FRESH_S = 1.0  # clients take three SSE connections shorter than this for a broken proxy


class SseReaders(Generic[V, N]):
    """The SSE readers that a feed serves, each until its time is over.

    `turns` has those who are live, `ahead` are those who were read for up to past the feed's
    position.
    """

    __slots__ = ("_hurries", "_last_write", "ahead", "ends", "feed", "source", "traffic", "turns")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self.feed = feed
        self.source = source
        self.traffic = source.traffic.live
        self._hurries = False
        self.ends: dict[SseReader, float] = {}  # until when (loop time), the oldest reader first
        self.ahead: dict[SseReader, None] = {}
        self.turns = LiveTurns(feed, source, self)
        self._last_write = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        return len(self.ends)

    def __contains__(self, reader: SseReader) -> bool:
        """Return whether a reader is served still."""
        return reader in self.ends

    def readers(self, most: int) -> list[tuple[str, str]]:
        """Offset and state of each, at most so many, the furthest behind first."""
        behind = self.ends.keys() - self.turns.live.keys() - self.ahead.keys()
        furthest = heapq.nsmallest(most, behind, key=attrgetter("position"))
        told = [(it.position, "slow" if it.paused else "catching up") for it in furthest]
        others = chain(self.turns.live, self.ahead)
        return told + [(it.position, "live") for it in islice(others, most - len(told))]

    def add(self, reader: SseReader) -> float:
        """Serve a reader; when something is due for it at the latest (loop time)."""
        settings = self.source.settings
        self.traffic.sse.joins += 1
        if reader.principal is not None:
            self.source.shared.admitted.add(reader, partial(self.end, reader))
        end = self.ends[reader] = asyncio.get_running_loop().time() + settings.sse_max_age
        return min(end, self._last_write + settings.heartbeat)

    def gone(self, reader: SseReader) -> None:
        """Remove a reader whose connection is lost."""
        if self._forget(reader, "client"):
            self.feed.left()

    def finish(self, reader: SseReader, ended: Ended = "closed") -> None:
        """End the reader's answer properly."""
        if self._forget(reader, ended):
            try:
                reader.end()
            except BaseException:
                reader.abort()
                raise
            finally:
                self.feed.left()

    def end(self, reader: SseReader, ended: Ended) -> None:
        """Its time is over: tell the reader where it is, if that can reach it."""
        if reader.paused:  # what it was sent would never leave
            self.drop(reader, "slow" if ended in {"timeout", "drain"} else ended)
        elif reader in self.ends:
            if reader.position != offsets.BEGINNING:  # which is never given out
                reader.tell()  # also while it is read for: some clients throw without
            self.finish(reader, ended)

    def drop(self, reader: SseReader, ended: Ended = "error") -> None:
        """Cut the reader off: it resumes by offset on a new connection."""
        if self._forget(reader, ended):
            reader.abort()
            self.feed.left()

    def _forget(self, reader: SseReader, ended: Ended) -> bool:
        self.turns.leave(reader)
        self.ahead.pop(reader, None)
        self.traffic.slow.discard(reader)
        if reader.reading is not None:
            reader.reading.cancel()  # it may hold a place at the origin
        if self.ends.pop(reader, None) is None:
            return False
        if reader.principal is not None:
            self.source.shared.admitted.discard(reader)
        self.traffic.sse.leaves[ended] += 1
        reader.left(ended)
        return True

    def finish_all(self) -> None:
        """End every answer properly, once all are told what there was."""
        self.turns.tell_rest()
        for reader in list(self.ends):
            self.finish(reader)

    def drop_all(self) -> None:
        """Cut every reader off."""
        self.turns.stop()
        for reader in list(self.ends):
            self.drop(reader)

    # Rounds

    def write_round(self, one: Round[N]) -> int:
        """Begin to tell those who are live of a round; how many of them it has news for."""
        self._last_write = asyncio.get_running_loop().time()
        return self.turns.tell(one)

    def control_event(self, position: str, floor: int) -> bytes:
        """Return the control event for a reader at `position`; its cursors are at least `floor`."""
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
        """Return when the oldest response is to end, or a heartbeat is due (loop time)."""
        heartbeat = self.source.settings.heartbeat
        beat = self._last_write + heartbeat
        return min(next(iter(self.ends.values())), beat if beat > now else now + heartbeat)

    def tick(self, now: float) -> None:
        """End the answers whose time is over; those who are live may need a heartbeat."""
        for reader, end in list(self.ends.items()):
            if end > now:
                break
            self.end(reader, "drain" if self._hurries else "timeout")
        if self.turns.live and now >= self._last_write + self.source.settings.heartbeat:
            heartbeat = http1.chunk(sse.HEARTBEAT)
            self.traffic.wrote_events(len(self.turns.live), len(sse.HEARTBEAT), 0)
            for live in list(self.turns.live):
                live.write(heartbeat)
            self._last_write = now

    def hurry(self, now: float) -> None:
        """Let every answer's time be over now, or when it is no longer fresh."""
        self._hurries = True
        begun_before = now - FRESH_S + self.source.settings.sse_max_age
        for reader, end in list(self.ends.items()):
            self.ends[reader] = min(end, now if end <= begun_before else now + FRESH_S)


class SseReader(asyncio.Protocol):
    """`position` is what has been written to the client; `cursor` a floor for its cursors, or 0.

    While it is live, `told` is how many of the feed's rounds it has been told of.
    """

    __slots__ = (
        "_chunked",
        "_heard",
        "_readers",
        "_server",
        "_transport",
        "cursor",
        "paused",
        "position",
        "principal",
        "reading",
        "told",
        "told_tail",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        readers: SseReaders[Any, Any],
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
        self.principal: Holder | None = None  # where its route has a guard
        self.reading: asyncio.Task[DataEvent] | None = None  # of what it is to be told next
        self.paused = False
        self.told = 0
        self.told_tail = False  # the last control event said that it is up to date
        transport.set_write_buffer_limits(high=HIGH_WATER)

    # Its connection

    @override
    def data_received(self, data: bytes) -> None:
        """Nothing is expected before the answer's end; the connection then ends with it."""
        self._heard = True

    @override
    def eof_received(self) -> bool:
        """Close the connection, whose client has ended its side."""
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the feed."""
        self._readers.gone(self)
        self._server.reader_lost(self._transport)

    @override
    def pause_writing(self) -> None:
        """Stop writing to a client that does not keep up; it will catch up without a queue."""
        self.paused = True
        readers = self._readers
        readers.turns.leave(self)
        if self in readers:
            readers.traffic.detached += 1
            readers.traffic.slow.add(self)

    @override
    def resume_writing(self) -> None:
        """Go on from the offset at which a client was stopped, now that it has read all."""
        self.paused = False
        self._readers.traffic.slow.discard(self)
        self.advance()

    def unsent_bytes(self) -> int:
        """Return the number of bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, framed: bytes) -> None:
        """Write what is one or more chunks of a chunked body."""
        self._transport.write(framed if self._chunked else http1.unframe(framed))

    def left(self, ended: Ended) -> None:
        """Note the end of the reader."""

    def end(self) -> None:
        """End the answer; the connection goes on with the client's next request where it can."""
        if not self._chunked:
            self._transport.close()
            return
        self._transport.write(http1.LAST_CHUNK)
        if self._heard or self.paused or not self._server.take_back(self._transport):
            self._transport.close()
            # Who takes nothing of what is left would keep the connection for ever.
            asyncio.get_running_loop().call_later(LAST_BYTES_S, self._transport.abort)

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
                readers.turns.join(self)
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

    def told_all(self) -> None:
        """Nothing can follow any more."""
        self._readers.finish(self)

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
        size = len(data_event) + len(control_event)
        self._readers.traffic.wrote_events(1, size, 1 if data_event else 0)
        self.send(data_event, control_event)

    def send(self, data_event: bytes, control_event: bytes) -> None:
        """Write them as one chunk."""
        if self._chunked:
            self._transport.writelines(http1.chunk_parts(data_event, control_event))
        else:
            self._transport.write(data_event + control_event)
