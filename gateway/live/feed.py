"""One stream's live readers, written to in rounds.

What is published gathers in a pending list; a round renders it once and writes the same bytes to
everybody. When the feed is idle a round comes at once; under load it waits for a quarter of the
time that the last one took, so that input is read and events gather while the feed is busy.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import HeadgateError, StreamGone, StreamNotFound
from gateway.live.host import Parked
from gateway.protocol import chunks, http1, responses, sse
from gateway.protocol.content import read_body
from gateway.protocol.cursors import current_cursor
from gateway.protocol.offsets import format_offset
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.live.event_reader import EventReader
    from gateway.live.host import Host, Waiter
    from gateway.protocol.chunks import Chunk
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.state import Change, Record, StreamState

PAUSE_SHARE = 0.25  # of a round's duration until the next one: 0.1 let the tail grow, 1 doubled p50
LONGEST_PAUSE_S = 0.05
FRESH_S = 1.0  # clients take three SSE connections shorter than this for a broken proxy


class Feed:
    """The live readers of one stream. `position` is what they have been told up to."""

    __slots__ = (
        "_ahead",
        "_due",
        "_earliest",
        "_host",
        "_last_write",
        "_live",
        "_loop",
        "_parked",
        "_pending",
        "_readers",
        "_round_waits",
        "_timer",
        "position",
        "state",
    )

    def __init__(self, state: StreamState, host: Host) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self.state = state
        self.position = state.tail
        self._pending: list[Record] = []
        self._parked: dict[Waiter, Parked] = {}
        self._readers: dict[EventReader, float] = {}  # every SSE reader and its end, oldest first
        self._live: dict[EventReader, None] = {}  # those at `position` who can be written to
        self._ahead: dict[EventReader, None] = {}  # those whose read of the log went past it
        self._round_waits = False
        self._earliest = 0.0
        self._last_write = self._loop.time()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    @property
    def has_readers(self) -> bool:
        """Whether anybody waits for the stream right now."""
        return bool(self._parked or self._readers)

    # Long-poll

    def park(self, waiter: Waiter, read: Read) -> None:
        """Let a waiter at the tail wait for the next data, or for its time to be over."""
        deadline = self._loop.time() + self._host.settings.long_poll_timeout
        self._parked[waiter] = Parked(self.state.tail, read, deadline)
        self._arm(deadline)

    def leave(self, waiter: Waiter) -> None:
        """The waiter's client is gone."""
        if self._parked.pop(waiter, None) is not None:
            self._left()

    # SSE

    def join(self, reader: EventReader) -> None:
        """Serve a reader from its position on."""
        end = self._loop.time() + self._host.settings.sse_max_age
        self._readers[reader] = end
        self._arm(min(end, self._last_write + self._host.settings.heartbeat))
        self.advance(reader)

    def advance(self, reader: EventReader) -> None:
        """Bring a reader on: into the rounds when it is where they are, else from the log."""
        while reader in self._readers and not (reader.busy or reader.paused):
            if reader.position > self.position:
                self._ahead[reader] = None
                return
            if reader.position == self.position:
                self._live[reader] = None
                if not reader.told_tail or self._at_end(reader):
                    self._tell(reader)
                if self._at_end(reader):
                    self._finish(reader)
                return
            events = self._host.cached_events(self.state, reader.position)
            if events is None:
                reader.busy = True
                read = self._loop.create_task(self._host.read_events(self.state, reader.position))
                read.add_done_callback(partial(self._read_from_log, reader))
                return
            self._bring_on(reader, *events)

    def _read_from_log(self, reader: EventReader, done: asyncio.Task[tuple[bytes, int]]) -> None:
        reader.busy = False
        if done.cancelled() or reader not in self._readers:
            return
        error = done.exception()
        if error is not None:
            if not isinstance(error, HeadgateError):
                log.error("events.unreadable", reason=repr(error))
            self._drop(reader)  # the client resumes by offset, and is told why it cannot
            return
        self._bring_on(reader, *done.result())
        self.advance(reader)

    def _bring_on(self, reader: EventReader, data_event: bytes, end: int) -> None:
        reader.position = end
        self._tell(reader, data_event)
        if self._at_end(reader):
            self._finish(reader)

    def _at_end(self, reader: EventReader) -> bool:
        return self.state.closed and reader.position == self.state.tail

    def fell_behind(self, reader: EventReader) -> None:
        """The reader's connection is full: no queue is kept, it will catch up from the log."""
        self._live.pop(reader, None)

    def gone(self, reader: EventReader) -> None:
        """The reader's connection is lost."""
        if self._forget(reader):
            self._left()

    def _forget(self, reader: EventReader) -> bool:
        self._live.pop(reader, None)
        self._ahead.pop(reader, None)
        return self._readers.pop(reader, None) is not None

    def _tell(self, reader: EventReader, data_event: bytes = b"") -> None:
        """Where a reader is now, after the data it has caught up with."""
        at_tail = reader.told_tail = reader.position == self.state.tail
        control = self._control(reader.position, reader.cursor, at_tail=at_tail)
        reader.write_events(data_event, control)

    def _control(self, position: int, floor: int, *, at_tail: bool) -> bytes:
        return sse.control_event(
            format_offset(self.state.generation, position),
            max(floor, current_cursor(self._host.clock())),
            up_to_date=at_tail,
            closed=at_tail and self.state.closed,
        )

    def _finish(self, reader: EventReader) -> None:
        """End the answer properly."""
        if self._forget(reader):
            reader.end()
            self._left()

    def _drop(self, reader: EventReader) -> None:
        """Cut a reader off: it resumes by offset on a new connection."""
        if self._forget(reader):
            reader.abort()
            self._left()

    def _left(self) -> None:
        self._host.reader_left()
        if not self.has_readers:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._host.feed_empty(self)

    # Rounds

    def published(self, change: Change) -> None:
        """The stream moved on; tell everybody in the next round."""
        self.state = change.state
        if change.state.soft_deleted:
            self._end(StreamGone("the stream was deleted; forks of it still use its data"))
            return
        self._pending.extend(change.records)
        if change.records or change.state.closed:
            self._schedule()

    def ended(self) -> None:
        """The stream is gone."""
        self._end(StreamNotFound("the stream was deleted"))

    def _end(self, reason: HeadgateError) -> None:
        self._pending.clear()
        response = responses.problem(reason)
        wire = self._host.wire(response)
        for waiter in list(self._parked):
            self._answer(waiter, (response, wire))
        for reader in list(self._readers):
            self._finish(reader)

    def _schedule(self) -> None:
        if self._round_waits:
            return
        self._round_waits = True
        wait = self._earliest - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._round)
        else:
            self._loop.call_soon(self._round)

    def _round(self) -> None:
        began = self._last_write = self._loop.time()
        self._loop.call_soon(self._round_done, began)
        records, self._pending = self._pending, []
        start, self.position = self.position, self.state.tail
        self._answer_parked(records)
        self._write_live(start, records)

    def _round_done(self, began: float) -> None:
        """One pass of the loop later, when the sockets have been written to."""
        now = self._loop.time()
        self._earliest = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self._round_waits = False
        if self._pending or self.position != self.state.tail:
            self._schedule()
        ahead, self._ahead = self._ahead, {}
        for reader in ahead:
            self.advance(reader)

    def _answer_parked(self, records: list[Record]) -> None:
        rendered: dict[tuple[int, int | None], tuple[Response, bytes]] = {}
        for waiter, parked in list(self._parked.items()):
            if parked.position == self.position and not self.state.closed:
                continue  # came after what this round tells
            key = (parked.position, parked.read.cursor)
            answer = rendered.get(key)
            if answer is None:
                answer = rendered[key] = self._poll_answer(parked, records)
            self._answer(waiter, answer)

    def _answer(self, waiter: Waiter, answer: tuple[Response, bytes]) -> None:
        del self._parked[waiter]
        try:
            waiter.answer(*answer)
        except Exception:  # noqa: BLE001 - it goes on with the client's next requests; the others wait
            log.exception("poll.unanswered")
        self._left()

    def _poll_answer(self, parked: Parked, records: list[Record]) -> tuple[Response, bytes]:
        now = self._host.clock()
        mine = [record for record in records if record.end > parked.position]
        if mine:
            chunk = chunks.cut(self.state, parked.position, mine)[0]
            response = responses.data(chunk, parked.read, self._host.freshness, now)
        else:
            response = responses.poll_ended(self.state, parked.read, now)
        return response, self._host.wire(response)

    def _write_live(self, start: int, records: list[Record]) -> None:
        readers = list(self._live)
        if not readers:
            return
        parts = chunks.cut(self.state, start, records) or [chunks.empty(self.state)]
        rendered: dict[int, list[bytes]] = {}
        for reader in readers:
            pieces = rendered.get(reader.cursor)
            if pieces is None:
                pieces = [self._events(chunk, reader.cursor) for chunk in parts]
                rendered[reader.cursor] = pieces
            self._write_chunks(reader, parts, pieces)

    def _write_chunks(self, reader: EventReader, parts: list[Chunk], pieces: list[bytes]) -> None:
        for chunk, piece in zip(parts, pieces, strict=True):
            if reader not in self._live:
                return  # its connection is full
            reader.write(piece)
            reader.position = chunk.end
            reader.told_tail = chunk.at_tail
        if self.state.closed:
            self._finish(reader)

    def _events(self, chunk: Chunk, floor: int) -> bytes:
        control = self._control(chunk.end, floor, at_tail=chunk.at_tail)
        if not chunk.records:
            return http1.chunk(control)
        content_type = self.state.content_type
        return http1.chunk(
            sse.data_event(content_type, read_body(content_type, chunk.records)) + control
        )

    # Time

    def _arm(self, due: float) -> None:
        if self._timer is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        """Whatever is due: poll timeouts, the end of old SSE answers, a heartbeat."""
        self._timer = None
        now = self._loop.time()
        self._end_polls(now)
        self._end_old_readers(now)
        heartbeat = self._host.settings.heartbeat
        if self._live and now >= self._last_write + heartbeat:
            beat = http1.chunk(sse.HEARTBEAT)
            for reader in list(self._live):
                reader.write(beat)
            self._last_write = now
        if self._parked:
            due = next(iter(self._parked.values())).deadline
            self._arm(max(due, now + LONGEST_PAUSE_S) if due <= now else due)
        if self._readers:
            self._arm(min(next(iter(self._readers.values())), self._next_heartbeat(now)))

    def _next_heartbeat(self, now: float) -> float:
        due = self._last_write + self._host.settings.heartbeat
        return due if due > now else now + self._host.settings.heartbeat

    def _end_polls(self, now: float) -> None:
        rendered: dict[int | None, tuple[Response, bytes]] = {}
        for waiter, parked in list(self._parked.items()):
            if parked.deadline > now:
                break
            if self._pending and parked.position < self.state.tail:
                break  # data is on its way in the round that comes next
            answer = rendered.get(parked.read.cursor)
            if answer is None:
                response = responses.poll_ended(self.state, parked.read, self._host.clock())
                answer = rendered[parked.read.cursor] = response, self._host.wire(response)
            self._answer(waiter, answer)

    def _end_old_readers(self, now: float) -> None:
        for reader, end in list(self._readers.items()):
            if end > now:
                break
            if reader.paused:  # what it was sent would never leave
                self._drop(reader)
                continue
            if not reader.busy:
                self._tell(reader)
            self._finish(reader)

    def drain(self) -> None:
        """The server stops: answer the polls, end the SSE answers that are not fresh."""
        now = self._loop.time()
        for waiter, parked in list(self._parked.items()):
            self._parked[waiter] = parked._replace(deadline=now)
        begun_before = now - FRESH_S + self._host.settings.sse_max_age
        for reader, end in list(self._readers.items()):
            self._readers[reader] = min(end, now if end <= begun_before else now + FRESH_S)
        if self._timer is not None:
            self._timer.cancel()
        self._tick()
