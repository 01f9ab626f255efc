"""The SSE readers of a feed: how they get from catch-up to live, and what they are sent.

A reader is an object without a task, so that tens of thousands can wait. Each reader is in exactly
one of these states, so it is sent everything once:

- reading: the data behind its position is being read for it;
- paused: its connection is full, and it continues from its position once that has drained;
- ahead: it was sent data that no round has reached yet, and it joins the rounds when they have;
- live: it is sent the rounds that it lacks when its turn comes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, V
from gateway.live.feed_loop import drain_times
from gateway.live.live_turns import LiveTurns
from gateway.live.sse.overdue_readers import OverdueReaders
from gateway.protocol.cursors import current_cursor
from gateway.protocol.streams import offsets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.live.contract import FeedSource, FeedState
    from gateway.live.live_turns import Round
    from gateway.live.sse.reader import SseReader
    from gateway.telemetry.live_traffic import Ended

# The responses that the server has ended by itself: their clients come back, however late.
_INTERRUPTED = frozenset({"timeout", "drain", "error"})
FRESH_S = 1.0  # clients blame a broken proxy when three SSE connections end sooner than this


class SseReaders(Generic[V, N]):
    """The SSE readers that a feed serves, each until its time is over.

    `turns` has the live readers, and `ahead` those that are past the feed's position. `overdue`
    has those whose time is over amid a message: they are no longer in `ends`. `due_back` counts
    the clients whose responses the server has ended, less those that have come since.
    """

    __slots__ = (
        *("_hurries", "_last_write", "ahead", "ends", "feed", "overdue"),
        *("due_back", "source", "traffic", "turns"),
    )

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self.feed = feed
        self.source = source
        self.traffic = source.traffic.live
        self._hurries = False
        self.due_back = 0
        self.ends: dict[SseReader, float] = {}  # end of its time (loop time), the oldest first
        self.overdue: OverdueReaders[SseReader] = OverdueReaders()
        self.ahead: dict[SseReader, None] = {}
        self.turns = LiveTurns(feed, source, self.control_event)
        self._last_write = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        return len(self.ends) + len(self.overdue)

    def __contains__(self, reader: SseReader) -> bool:
        """Return whether the reader is still served."""
        return reader in self.ends or reader in self.overdue

    def __iter__(self) -> Iterator[SseReader]:
        """Iterate over the readers that are served when it begins."""
        return iter([*self.ends, *self.overdue])

    def add(self, reader: SseReader) -> float:
        """Serve a reader; return the latest time at which something is due for it (loop time)."""
        settings = self.source.settings
        self.traffic.sse.joins += 1
        self.due_back = max(0, self.due_back - 1)
        if reader.principal is not None:
            self.source.shared.admitted.add(reader, partial(self.end, reader))
        end = self.ends[reader] = asyncio.get_running_loop().time() + settings.sse_max_age
        return min(end, self._last_write + settings.heartbeat)

    def remove(self, reader: SseReader) -> None:
        """Remove a reader whose client has disconnected."""
        if self._forget(reader, "client"):
            self.feed.release_reader()

    def finish(self, reader: SseReader) -> None:
        """End the response of a closed stream, once the reader has most of what was sent."""
        if not reader.paused:
            self._finish(reader, "closed")

    def _finish(self, reader: SseReader, ended: Ended) -> None:
        if self._forget(reader, ended):
            try:
                reader.end()
            except BaseException:
                reader.abort()
                raise
            finally:
                self.feed.release_reader()

    def end(self, reader: SseReader, ended: Ended) -> None:
        """End the response of a reader whose time is over, with a last control event.

        An age that ends amid a message lets the reader take the rest; nothing else does.
        """
        if reader.paused and ended == "timeout":
            if self.ends.pop(reader, None) is not None:
                self.overdue.add(reader, asyncio.get_running_loop().time())
        elif reader.paused:
            self.drop(reader, "slow" if ended == "drain" else ended)
        elif reader in self:
            if reader.position != offsets.BEGINNING:  # which no control event names
                reader.send_events()  # also in the state "reading": some clients throw without it
            self._finish(reader, ended)

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
        if self.ends.pop(reader, None) is None and not self.overdue.discard(reader):
            return False
        if reader.principal is not None:
            self.source.shared.admitted.discard(reader)
            reader.principal.use.sent_bytes += reader.sent_bytes
        self.traffic.sse.departures[ended] += 1
        self.due_back += ended in _INTERRUPTED
        reader.note_end(ended)
        return True

    def finish_all(self) -> None:
        """Send all readers the remaining rounds, then end their responses with the last chunk."""
        self.turns.send_rest()
        for reader in self:
            self._finish(reader, "closed")

    def drop_all(self) -> None:
        """Close the connections of all readers at once."""
        self.turns.stop()
        for reader in self:
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

    def resume(self, reader: SseReader) -> None:
        """Continue with a reader that was paused, or end its response if its time is over."""
        if reader in self.overdue and not reader.is_at_end():
            self.feed.loop.run(self.end, reader, "timeout")
        else:
            reader.advance()

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
        end = min(next(iter(self.ends.values()), inf), self.overdue.due)
        return min(end, beat if beat > now else now + heartbeat)

    def tick(self, now: float) -> None:
        """End the responses whose time is over, and send heartbeats if they are due."""
        for reader, end in list(self.ends.items()):
            if end > now:
                break
            self.end(reader, "drain" if self._hurries else "timeout")
        for reader in self.overdue.too_slow(now):
            self.drop(reader, "slow")
        if self.turns.live and now >= self._last_write + self.source.settings.heartbeat:
            self.turns.send_heartbeats()
            self._last_write = now

    def hurry(self, now: float) -> None:
        """End the time of every response soon, in lots; of a new one when it is FRESH_S old."""
        self._hurries = True
        for reader in self.overdue:
            self.drop(reader, "slow")
        settings = self.source.settings
        begun_before = now - FRESH_S + settings.sse_max_age
        times = drain_times(now, len(self.ends), settings.drain_time)
        for (reader, end), at in zip(list(self.ends.items()), times, strict=True):
            self.ends[reader] = min(end, at if end <= begun_before else max(at, now + FRESH_S))
