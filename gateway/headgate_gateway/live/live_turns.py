"""The order in which live readers are sent the rounds: in turn, a part of them at a time.

Between two parts the loop makes some passes, in which it reads input and commits appends. Readers
later in the turn are sent these appends, too. When each round was written to all readers at once,
appends waited behind thousands of writes, and their data waited for the next round: with 1,000
readers p50 was two and a half times as long.

A reader that lacks several rounds is sent them together. Events are rendered once for all readers
that lack the same rounds, and are counted together.
"""

from __future__ import annotations

import abc
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Generic

from headgate_gateway.live.contract import DataEvent
from headgate_gateway.live.source import N, V
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.bodies.content import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.live.feed_state import FeedState, Round
    from headgate_gateway.telemetry.traffic import LiveTraffic

# Readers in a part: half a millisecond of writes. With 128, appends waited so long that each one
# became a round of its own.
AT_ONCE = 32
# Passes of the loop between two parts. An append needs as many from its bytes to its round: it is
# read, committed, answered and published. With one pass, a writer that waits for each response was
# four times as slow.
PASSES = 4
HEARTBEATS_AT_ONCE = 64  # half a millisecond, of 80 for 10,000 readers


class LiveReader(abc.ABC):
    """A reader that is sent rounds: `rounds_sent` of them so far, up to the offset `position`.

    `cursor` is the least cursor that it may be sent, or 0. `is_up_to_date` says whether its last
    control event said that it had reached the tail. `start` is the offset that its first control
    event is to name as the beginning, or "".
    """

    __slots__ = ("cursor", "is_up_to_date", "position", "rounds_sent", "start")

    def __init__(self, position: str, cursor: int) -> None:
        self.position = position
        self.cursor = cursor
        self.rounds_sent = 0
        self.is_up_to_date = False
        self.start = ""

    def take_start(self) -> str:
        """Return the offset that the next control event names; "" from the second one on."""
        start, self.start = self.start, ""
        return start

    @abc.abstractmethod
    def write(self, framed: bytes, size: int) -> None:
        """Write a chunk of a chunked body, which has `size` bytes without its framing."""

    @abc.abstractmethod
    def advance(self) -> None:
        """Read what follows its position from the log or origin, and send that."""

    @abc.abstractmethod
    def finish(self) -> None:
        """End the response: the stream is closed, and all of it was sent."""


class Delivery(Generic[N]):
    """The events for all readers that lack the same rounds: `pieces`, of `size` bytes together.

    A piece has some events as an HTTP chunk, its size in bytes without its framing, the offset at
    which its data end, and whether that is the tail. `events` is the number of data events in all.
    `readers` is how many readers were sent the pieces, and `counted` how many of these the metrics
    include.
    """

    __slots__ = ("counted", "events", "pieces", "readers", "since", "size")

    def __init__(self, lacks: Sequence[Round[N]], events: int) -> None:
        self.since = next((one.arrived_at for one in lacks if one.news), 0.0)
        self.events = events
        self.pieces: list[tuple[bytes, int, str, bool]] = []
        self.size = 0
        self.readers = 0
        self.counted = 0

    def count(self, traffic: LiveTraffic, now: float) -> None:
        """Add the readers since the last call to the metrics, with the delay up to `now`."""
        readers = self.readers - self.counted
        if not readers:
            return
        self.counted = self.readers
        traffic.wrote_events(readers, self.size, self.events)
        if self.events:
            traffic.delays.observe(now - self.since, readers)

    def uncount(self, end: str, traffic: LiveTraffic) -> None:
        """Subtract one reader that did not get the piece ending at `end`, nor those after it."""
        first = [piece_end for _, _, piece_end, _ in self.pieces].index(end)
        for _, size, _, _ in self.pieces[first:]:
            traffic.wrote_events(-1, size, 1)


class LiveTurns(Generic[V, N]):
    """The turns of a feed, and its latest rounds, which some reader may lack.

    `live` has the readers that get the rounds, in the order of sending.
    """

    __slots__ = (
        *("_began", "_control_event", "_deliveries", "_feed", "_number", "_passes", "_rounds"),
        *("_traffic", "_turn", "live"),
    )

    def __init__(self, feed: FeedState[V], control_event: Callable[[str, int], bytes]) -> None:
        """`control_event` returns the event at a position; its cursors are at least the second."""
        self.live: dict[LiveReader, None] = {}
        self._feed = feed
        self._control_event = control_event
        self._traffic = feed.source.traffic.live
        self._rounds: list[Round[N]] = []
        self._number = 0  # of rounds so far
        # Rendered events, by the rounds sent before and the least cursor.
        self._deliveries: dict[tuple[int, int], Delivery[N] | None] = {}
        self._turn: list[LiveReader] = []  # readers left in this turn, the next one last
        self._passes = 0  # of the loop, left before the next part
        self._began = 0  # number of rounds when this turn began

    def join(self, reader: LiveReader) -> None:
        """Add a reader at the feed's position, which is sent the rounds from now on."""
        reader.rounds_sent = self._number
        self.live[reader] = None

    def remove(self, reader: LiveReader) -> None:
        """Remove a reader that fell behind or disconnected."""
        self.live.pop(reader, None)

    def send_round(self, one: Round[N]) -> None:
        """Add a round, and start a turn if none is under way."""
        if not self.live:
            return
        self._retire()  # the rendered events lack it
        self._rounds.append(one)
        self._number += 1
        if not self._turn:
            self._begin()
            self._go_on()

    def send_rest(self) -> None:
        """Send the remaining rounds to all readers now, because the feed is closing."""
        while self._turn:
            self._send_part()

    def send_heartbeats(self, readers: list[LiveReader]) -> None:
        """Send a heartbeat to these readers, to a part of them in each pass of the loop."""
        heartbeat, sent = http1.chunk(HEARTBEAT), 0
        for reader in readers[-HEARTBEATS_AT_ONCE:]:
            if reader in self.live:  # else it has ended meanwhile, or its connection is full
                reader.write(heartbeat, len(HEARTBEAT))
                sent += 1
        self._traffic.wrote_events(sent, len(HEARTBEAT), 0)
        del readers[-HEARTBEATS_AT_ONCE:]
        if readers:
            self._feed.call_soon(self.send_heartbeats, readers)

    def stop(self) -> None:
        """End the turn that is under way: after a failure all readers are cut off."""
        self._turn.clear()
        self._passes = 0

    # Rounds

    def _retire(self) -> None:
        """Drop the rendered events, and observe how many readers shared each of them."""
        for delivery in self._deliveries.values():
            if delivery is not None and delivery.readers and delivery.events:
                self._traffic.collapsed.observe(delivery.readers)
        self._deliveries.clear()

    def _forget(self, sent: int) -> None:
        """Drop all rounds up to number `sent`, which every reader has been sent."""
        lacked = self._number - sent
        if lacked < len(self._rounds):
            del self._rounds[: len(self._rounds) - lacked]

    def _delivery(self, sent: int, floor: int) -> Delivery[N] | None:
        """Return the events for readers that were sent `sent` rounds; cursors are at least `floor`.

        None if these events are too long for one turn.
        """
        if (sent, floor) not in self._deliveries:
            self._deliveries[sent, floor] = self._rendered(sent, floor)
        return self._deliveries[sent, floor]

    def _rendered(self, sent: int, floor: int) -> Delivery[N] | None:
        feed = self._feed
        lacks = (
            self._rounds[sent - self._number :] if self._number - sent <= len(self._rounds) else ()
        )
        if not lacks:
            return None
        news = lacks[0].news
        if len(lacks) > 1:
            news = [piece for one in lacks for piece in one.news]
        events = feed.source.data_events(feed.stream, lacks[0].start, news)
        if events is None:
            self._forget(sent + 1)  # other readers that lack as much cannot be sent it either
            return None
        delivery = Delivery(lacks, len(events))
        for data, end in events or [DataEvent(b"", feed.position)]:
            piece = data + self._control_event(end, floor)
            delivery.size += len(piece)
            framed = http1.chunk(piece)
            delivery.pieces.append((framed, len(piece), end, end == feed.tail))
        return delivery

    def _count(self) -> None:
        """Add what readers were sent since the last call to the metrics."""
        now = perf_counter()
        for delivery in self._deliveries.values():
            if delivery is not None:
                delivery.count(self._traffic, now)

    # Turns

    def _begin(self) -> None:
        self._turn = list(reversed(self.live))
        self._began = self._number
        self._forget(min(map(attrgetter("rounds_sent"), self._turn), default=self._began))

    def _go_on(self) -> None:
        """Send to one part of the readers, then wait for PASSES passes of the loop."""
        if not self._passes:
            self._send_part()
            self._passes = PASSES if self._turn else 0
        if self._passes:
            self._passes -= 1
            self._feed.call_soon(self._go_on)

    def _send_part(self) -> None:
        turn, live, number, remaining = self._turn, self.live, self._number, AT_ONCE
        lacks: tuple[int, int] | None = None
        delivery: Delivery[N] | None = None
        while turn and remaining:
            reader = turn.pop()
            if reader.rounds_sent == number or reader not in live:
                continue
            sent, floor = reader.rounds_sent, reader.cursor
            if lacks != (sent, floor):  # nearly always the same as for the reader before
                lacks = sent, floor
                delivery = self._delivery(sent, floor)
            # The events are too long: the reader catches up by reads, as if it had just come. So do
            # all readers that lack as much, at once, so that the stored rounds are never more than
            # fit into one turn, and those since the last part.
            if delivery is None:
                del live[reader]
                reader.advance()
            else:
                remaining -= 1
                reader.rounds_sent = number
                self._send(reader, delivery)
        self._count()
        if not turn and self._began != number:
            self._begin()
        if not self._turn:
            self._retire()
            self._forget(self._number)

    def _send(self, reader: LiveReader, delivery: Delivery[N]) -> None:
        delivery.readers += 1
        for framed, size, end, is_tail in delivery.pieces:
            if reader not in self.live:  # its connection is full: pause_writing has removed it
                delivery.uncount(end, self._traffic)
                return
            if size:
                reader.write(framed, size)
            reader.position = end
            reader.is_up_to_date = is_tail
        if self._feed.closed and reader.position == self._feed.tail:
            reader.finish()
