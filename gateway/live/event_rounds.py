"""The rounds that some live reader has not been sent yet.

A reader that lacks several rounds is sent them together. Events are rendered once for all readers
that lack the same rounds, and are counted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol

from gateway.live.contract import DataEvent, N, V
from gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.contract import FeedSource, FeedState
    from gateway.telemetry.live_traffic import LiveTraffic


class DeliveryPart(NamedTuple):
    """Some events as an HTTP chunk, which has `size` bytes without its framing.

    The data in it end at the offset `end`; `is_tail` says whether that is the tail.
    """

    framed: bytes
    size: int
    end: str
    is_tail: bool


class ControlEvents(Protocol):
    """A source of control events."""

    def control_event(self, position: str, floor: int) -> bytes:
        """Return the control event for a reader at `position`; its cursors are at least `floor`."""


class Round(NamedTuple, Generic[N]):
    """The news that follows `start`, and the arrival of the oldest of it (perf_counter).

    `trace_id` belongs to the newest append in it that has a trace.
    """

    start: str
    news: Sequence[N]
    since: float
    trace_id: str | None


class Delivery(Generic[N]):
    """The events for all readers that lack the same rounds: `pieces`, of `size` bytes together.

    `events` is the number of data events in them. `readers` is how many readers were sent the
    pieces, and `counted` how many of these the metrics include.
    """

    __slots__ = ("counted", "events", "pieces", "readers", "since", "size", "trace_id")

    def __init__(self, lacks: Sequence[Round[N]], events: int) -> None:
        with_news = [one for one in lacks if one.news]
        self.since = with_news[0].since if with_news else 0.0
        self.trace_id = next((one.trace_id for one in reversed(with_news) if one.trace_id), None)
        self.events = events
        self.pieces: list[DeliveryPart] = []
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
            traffic.delays.observe(now - self.since, readers, self.trace_id)

    def uncount(self, end: str, traffic: LiveTraffic) -> None:
        """Subtract one reader that did not get the piece ending at `end`, nor those behind it."""
        first = [piece.end for piece in self.pieces].index(end)
        for piece in self.pieces[first:]:
            traffic.wrote_events(-1, piece.size, 1)


class EventRounds(Generic[V, N]):
    """The latest rounds of a feed, which some reader may lack; `number` counts all so far."""

    __slots__ = ("_control", "_deliveries", "_feed", "_rounds", "_source", "number")

    def __init__(
        self, feed: FeedState[V], source: FeedSource[V, N], control: ControlEvents
    ) -> None:
        self._feed = feed
        self._source = source
        self._control = control
        self._rounds: list[Round[N]] = []
        self._deliveries: dict[tuple[int, int], Delivery[N] | None] = {}
        self.number = 0

    def add(self, one: Round[N]) -> None:
        """Add a round, and drop the rendered events, which lack it."""
        self.retire()
        self._rounds.append(one)
        self.number += 1

    def retire(self) -> None:
        """Drop the rendered events, and observe how many readers shared each of them."""
        for delivery in self._deliveries.values():
            if delivery is not None and delivery.readers and delivery.events:
                self._source.traffic.live.collapsed.observe(delivery.readers)
        self._deliveries.clear()

    def forget(self, sent: int) -> None:
        """Drop all rounds up to number `sent`, which every reader has been sent."""
        lacked = self.number - sent
        if lacked < len(self._rounds):
            del self._rounds[: len(self._rounds) - lacked]

    def delivery(self, sent: int, floor: int) -> Delivery[N] | None:
        """Return the events for readers that were sent `sent` rounds; cursors are at least `floor`.

        None if these events are too long for one turn.
        """
        try:
            return self._deliveries[sent, floor]
        except KeyError:
            delivery = self._deliveries[sent, floor] = self._rendered(sent, floor)
            return delivery

    def _rendered(self, sent: int, floor: int) -> Delivery[N] | None:
        feed = self._feed
        lacks = (
            self._rounds[sent - self.number :] if self.number - sent <= len(self._rounds) else ()
        )
        if not lacks:
            return None
        news = lacks[0].news
        if len(lacks) > 1:
            news = [piece for one in lacks for piece in one.news]
        events = self._source.data_events(feed.stream, lacks[0].start, news)
        if events is None:
            self.forget(sent + 1)  # other readers that lack as much cannot be sent it either
            return None
        delivery = Delivery(lacks, len(events))
        for data, end in events or [DataEvent(b"", feed.position)]:
            piece = data + self._control.control_event(end, floor)
            delivery.size += len(piece)
            framed = http1.chunk(piece) if piece else b""  # an empty chunk would be the last
            delivery.pieces.append(DeliveryPart(framed, len(piece), end, end == feed.tail))
        return delivery

    def count(self, traffic: LiveTraffic, now: float) -> None:
        """Add what readers were sent since the last call to the metrics."""
        for delivery in self._deliveries.values():
            if delivery is not None:
                delivery.count(traffic, now)
