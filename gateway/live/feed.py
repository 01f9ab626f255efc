"""One stream's live readers, written to in rounds.

What is published gathers in a pending list; a round renders it once and writes the same bytes to
everybody. When the feed is idle a round comes at once; under load it waits for a quarter of the
time that the last one took, so that input is read and events gather while the feed is busy.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic

from gateway.errors import HeadgateError
from gateway.live.contract import Cut, N, V
from gateway.live.long_polls import LongPolls
from gateway.protocol import http1, sse
from gateway.protocol.cursors import current_cursor
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.live.contract import Host, Waiter
    from gateway.live.sse_reader import SseReader
    from gateway.protocol.requests import LongPoll

PAUSE_SHARE = 0.25  # of a round's duration until the next one: 0.1 let the tail grow, 1 doubled p50
LONGEST_PAUSE_S = 0.05
FRESH_S = 1.0  # clients take three SSE connections shorter than this for a broken proxy


class Feed(Generic[V, N]):
    """The live readers of one stream. `position` is what they have been told up to.

    `stream` is the stream as its route knows it, `tail` where it ends. `lost` says why news
    cannot come at the moment.
    """

    __slots__ = (
        "_ahead",
        "_due",
        "_earliest",
        "_host",
        "_last_write",
        "_live",
        "_loop",
        "_pending",
        "_polls",
        "_readers",
        "_round_waits",
        "_timer",
        "caught_up",
        "closed",
        "lost",
        "position",
        "stream",
        "tail",
    )

    def __init__(self, stream: V, tail: str, host: Host[V, N], *, closed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self.stream = stream
        self.tail = self.position = tail
        self.closed = closed
        self.caught_up = True  # nothing is known to follow the tail
        self.lost: HeadgateError | None = None
        self._pending: list[N] = []
        self._polls: LongPolls[V, N] = LongPolls(self, host)
        self._readers: dict[SseReader, float] = {}  # every SSE reader and its end, oldest first
        self._live: dict[SseReader, None] = {}  # those at `position` who can be written to
        self._ahead: dict[SseReader, None] = {}  # those whose read of the log went past it
        self._round_waits = False
        self._earliest = 0.0
        self._last_write = self._loop.time()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    @property
    def has_readers(self) -> bool:
        """Whether anybody waits for the stream right now."""
        return bool(self._polls or self._readers)

    def __contains__(self, reader: SseReader) -> bool:
        """Whether an SSE reader is served by it."""
        return reader in self._readers

    # Long-poll

    def park(self, waiter: Waiter, read: LongPoll, position: str) -> None:
        """Let a waiter at the tail wait for the next data, or for its time to be over."""
        self._arm(self._polls.park(waiter, read, position))

    def leave(self, waiter: Waiter) -> bool:
        """The waiter's client is gone; whether it waited still."""
        return self._polls.leave(waiter)

    # SSE

    def join(self, reader: SseReader) -> None:
        """Serve a reader from its position on."""
        end = self._loop.time() + self._host.settings.sse_max_age
        self._readers[reader] = end
        self._arm(min(end, self._last_write + self._host.settings.heartbeat))
        self.advance(reader)

    def advance(self, reader: SseReader, events: Cut | None = None) -> None:
        """Bring a reader on: into the rounds when it is where they are, else from the log.

        What was read for it comes first.
        One that cannot be told, whatever raises, is cut off, and resumes by offset.
        """
        try:
            if events is not None:
                self._bring_on(reader, *events)
            self._advance(reader)
        except Exception:  # noqa: BLE001 - it would wait for ever
            log.exception("events.untold")
            self._drop(reader)

    def _advance(self, reader: SseReader) -> None:
        while reader in self._readers and not (reader.reading or reader.paused):
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
            events = self._host.cached_events(self.stream, reader.position)
            if events is None:
                read = self._loop.create_task(self._host.read_events(self.stream, reader.position))
                read.add_done_callback(partial(self._caught_up, reader))
                reader.reading = read
                return
            self._bring_on(reader, *events)

    def _caught_up(self, reader: SseReader, done: asyncio.Task[Cut]) -> None:
        reader.reading = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or reader not in self._readers:
            return
        if error is not None:
            if not isinstance(error, HeadgateError):
                log.error("events.unreadable", reason=repr(error))
            self._drop(reader)  # the client resumes by offset, and is told why it cannot
            return
        events = done.result()
        if events.end == reader.position:  # nothing yet of what the feed has heard of
            self._ahead[reader] = None
        else:
            self.advance(reader, events)

    def _bring_on(self, reader: SseReader, data_event: bytes, end: str) -> None:
        reader.position = end
        self._tell(reader, data_event)
        if self._at_end(reader):
            self._finish(reader)

    def _at_end(self, reader: SseReader) -> bool:
        return self.closed and reader.position == self.tail

    def fell_behind(self, reader: SseReader) -> None:
        """The reader's connection is full: no queue is kept, it will catch up from the log."""
        self._live.pop(reader, None)

    def gone(self, reader: SseReader) -> None:
        """The reader's connection is lost."""
        if self._forget(reader):
            self.left()

    def _forget(self, reader: SseReader) -> bool:
        self._live.pop(reader, None)
        self._ahead.pop(reader, None)
        if reader.reading is not None:
            reader.reading.cancel()  # it may hold a place at the origin
        return self._readers.pop(reader, None) is not None

    def _tell(self, reader: SseReader, data_event: bytes = b"") -> None:
        """Where a reader is now, after the data it has caught up with."""
        reader.told_tail = reader.position == self.tail
        reader.write_events(data_event, self._control(reader.position, reader.cursor))

    def _control(self, position: str, floor: int) -> bytes:
        at_tail = position == self.tail and self.caught_up
        return sse.control_event(
            position,
            max(floor, current_cursor(self._host.clock())),
            up_to_date=at_tail,
            closed=at_tail and self.closed,
        )

    def _finish(self, reader: SseReader) -> None:
        """End the answer properly."""
        if self._forget(reader):
            try:
                reader.end()
            except BaseException:
                reader.abort()
                raise
            finally:
                self.left()

    def _drop(self, reader: SseReader) -> None:
        """Cut a reader off: it resumes by offset on a new connection."""
        if self._forget(reader):
            reader.abort()
            self.left()

    def left(self) -> None:
        """One who was about to wait, or waited, does not any more."""
        self._host.reader_left()
        if not self.has_readers:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._host.feed_empty(self)

    def cut_off(self) -> None:
        """End every connection that waits: its client comes back with its offset.

        Something has failed here, and nobody can say who has been told what.
        """
        self._round_waits = False
        self._pending.clear()
        self.position = self.tail
        self._polls.abandon()
        for reader in list(self._readers):
            self._drop(reader)

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; whatever raises, nobody waits for ever."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the rounds would stand still
            log.exception("feed.failed")
            self.cut_off()

    # Rounds

    def publish(
        self, stream: V, tail: str, news: Sequence[N], *, closed: bool, caught_up: bool = True
    ) -> None:
        """The stream moved on; tell everybody in the next round."""
        reached = caught_up and not self.caught_up
        self.stream, self.tail, self.closed, self.caught_up = stream, tail, closed, caught_up
        self.lost = None
        self._pending.extend(news)
        if self._pending or closed or reached:
            self._schedule()

    def lose(self, reason: HeadgateError) -> None:
        """News cannot come for a while: the polls are told, SSE readers wait."""
        self.lost = reason
        self._polls.refuse(reason)

    def end(self, reason: HeadgateError) -> None:
        """The stream is gone."""
        self._polls.refuse(reason)
        self._finish_all()

    def break_off(self, reason: HeadgateError) -> None:
        """The stream is not what was followed any more, though others may know what it is now."""
        self._polls.break_off(reason)
        self._finish_all()

    def _finish_all(self) -> None:
        self._pending.clear()
        for reader in list(self._readers):
            self._finish(reader)

    def _schedule(self) -> None:
        if self._round_waits:
            return
        self._round_waits = True
        wait = self._earliest - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._guarded, self._round)
        else:
            self._loop.call_soon(self._guarded, self._round)

    def _round(self) -> None:
        began = self._last_write = self._loop.time()
        self._loop.call_soon(self._guarded, self._round_done, began)
        news, self._pending = self._pending, []
        start, self.position = self.position, self.tail
        self._polls.tell(news)
        self._write_live(start, news)

    def _round_done(self, began: float) -> None:
        """One pass of the loop later, when the sockets have been written to."""
        now = self._loop.time()
        self._earliest = now + min(LONGEST_PAUSE_S, PAUSE_SHARE * (now - began))
        self._round_waits = False
        if self._pending or self.position != self.tail:
            self._schedule()
        ahead, self._ahead = self._ahead, {}
        for reader in ahead:
            self.advance(reader)

    def _write_live(self, start: str, news: list[N]) -> None:
        readers = list(self._live)
        if not readers:
            return
        cuts = self._host.cut(self.stream, start, news)
        if cuts is None:  # one after the other is brought on as if it had been away
            self._live.clear()
            for reader in readers:
                self.advance(reader)
            return
        cuts = cuts or [Cut(b"", self.tail)]
        rendered: dict[int, list[bytes]] = {}
        for reader in readers:
            pieces = rendered.get(reader.cursor)
            if pieces is None:
                pieces = [
                    http1.chunk(data + self._control(end, reader.cursor)) for data, end in cuts
                ]
                rendered[reader.cursor] = pieces
            self._write_cuts(reader, cuts, pieces)

    def _write_cuts(self, reader: SseReader, cuts: list[Cut], pieces: list[bytes]) -> None:
        for cut, piece in zip(cuts, pieces, strict=True):
            if reader not in self._live:
                return  # its connection is full
            reader.write(piece)
            reader.position = cut.end
            reader.told_tail = cut.end == self.tail
        if self.closed:
            self._finish(reader)

    # Time

    def _arm(self, due: float) -> None:
        if self._timer is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._guarded, self._tick)

    def _tick(self) -> None:
        """Whatever is due: poll timeouts, the end of old SSE answers, a heartbeat."""
        self._timer = None
        now = self._loop.time()
        self._polls.end(now, news_wait=bool(self._pending))
        self._end_old_readers(now)
        heartbeat = self._host.settings.heartbeat
        if self._live and now >= self._last_write + heartbeat:
            beat = http1.chunk(sse.HEARTBEAT)
            for reader in list(self._live):
                reader.write(beat)
            self._last_write = now
        if self._polls:
            due = self._polls.due
            self._arm(max(due, now + LONGEST_PAUSE_S) if due <= now else due)
        if self._readers:
            self._arm(min(next(iter(self._readers.values())), self._next_heartbeat(now)))

    def _next_heartbeat(self, now: float) -> float:
        due = self._last_write + self._host.settings.heartbeat
        return due if due > now else now + self._host.settings.heartbeat

    def _end_old_readers(self, now: float) -> None:
        for reader, end in list(self._readers.items()):
            if end > now:
                break
            if reader.paused:  # what it was sent would never leave
                self._drop(reader)
                continue
            if reader.reading is None:
                self._tell(reader)
            self._finish(reader)

    def drain(self) -> None:
        """The server stops: answer the polls, end the SSE answers that are not fresh."""
        now = self._loop.time()
        self._polls.hurry(now)
        begun_before = now - FRESH_S + self._host.settings.sse_max_age
        for reader, end in list(self._readers.items()):
            self._readers[reader] = min(end, now if end <= begun_before else now + FRESH_S)
        if self._timer is not None:
            self._timer.cancel()
        self._tick()
