"""The rounds that live readers have not been sent yet, by how many each reader has been sent.

Who lacks several rounds is told them together. What readers are written is rendered once for all
who lack the same, and counted as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol

from gateway.live.contract import DataEvent, N, V
from gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.contract import FeedSource, FeedState
    from gateway.telemetry.live_traffic import LiveTraffic

    Piece = tuple[bytes, str, bool]  # a chunk, where its data ends, and whether that is the tail


class TellsPosition(Protocol):
    """A source of control events."""

    def control_event(self, position: str, floor: int) -> bytes:
        """Return the control event for a reader at `position`; its cursors are at least `floor`."""


class Round(NamedTuple, Generic[N]):
    """News that follow `start`, and since when the oldest were there (by perf_counter).

    `trace_id` is that of the newest append among them that has one.
    """

    start: str
    news: Sequence[N]
    since: float
    trace_id: str | None


class Telling(Generic[N]):
    """The events for readers that lack the same rounds: `pieces`, `size` bytes in all.

    `events` of them have news. `readers` have been written them; `counted` of these are counted.
    """

    __slots__ = ("counted", "events", "pieces", "readers", "since", "size", "trace_id")

    def __init__(self, lacks: Sequence[Round[N]], events: int) -> None:
        told = [one for one in lacks if one.news]
        self.since = told[0].since if told else 0.0
        self.trace_id = next((one.trace_id for one in reversed(told) if one.trace_id), None)
        self.events = events
        self.pieces: list[Piece] = []
        self.size = 0
        self.readers = 0
        self.counted = 0

    def count(self, traffic: LiveTraffic, now: float) -> None:
        """Count those who have been written it since it was last counted, all at this moment."""
        readers = self.readers - self.counted
        if not readers:
            return
        self.counted = self.readers
        traffic.wrote_events(readers, self.size, self.events)
        if self.events:
            traffic.delays.observe(now - self.since, readers, self.trace_id)

    def take_back(self, end: str, traffic: LiveTraffic) -> None:
        """Uncount the pieces from the one with this end on for a reader that did not get them."""
        first = [piece[1] for piece in self.pieces].index(end)
        for piece, _, _ in self.pieces[first:]:
            traffic.wrote_events(-1, len(http1.unframe(piece)), 1)


class EventRounds(Generic[V, N]):
    """The rounds that somebody may lack; `number` of them there have been in all."""

    __slots__ = ("_feed", "_kept", "_source", "_tellings", "_tells", "number")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N], tells: TellsPosition) -> None:
        self._feed = feed
        self._source = source
        self._tells = tells
        self._kept: list[Round[N]] = []
        self._tellings: dict[tuple[int, int], Telling[N] | None] = {}
        self.number = 0

    def add(self, one: Round[N]) -> None:
        """Add a round."""
        self.retire()
        self._kept.append(one)
        self.number += 1

    def retire(self) -> None:
        """Drop what was rendered so far: it is written to no further reader."""
        for telling in self._tellings.values():
            if telling is not None and telling.readers and telling.events:
                self._source.traffic.live.collapsed.observe(telling.readers)
        self._tellings.clear()

    def forget(self, told: int) -> None:
        """Drop the rounds that every reader has been sent."""
        lacked = self.number - told
        if lacked < len(self._kept):
            del self._kept[: len(self._kept) - lacked]

    def telling(self, told: int, floor: int) -> Telling[N] | None:
        """Return the events for readers that were sent so many rounds, cursors at least `floor`.

        None when these are too long for one turn.
        """
        try:
            return self._tellings[told, floor]
        except KeyError:
            telling = self._tellings[told, floor] = self._rendered(told, floor)
            return telling

    def _rendered(self, told: int, floor: int) -> Telling[N] | None:
        feed = self._feed
        lacks = self._kept[told - self.number :] if self.number - told <= len(self._kept) else ()
        if not lacks:
            return None
        news = lacks[0].news
        if len(lacks) > 1:
            news = [piece for one in lacks for piece in one.news]
        events = self._source.data_events(feed.stream, lacks[0].start, news)
        if events is None:
            self.forget(told + 1)  # whoever lacks as much cannot be told either
            return None
        telling = Telling(lacks, len(events))
        for data, end in events or [DataEvent(b"", feed.position)]:
            piece = data + self._tells.control_event(end, floor)
            telling.size += len(piece)
            telling.pieces.append((http1.chunk(piece), end, end == feed.tail))
        return telling

    def count(self, traffic: LiveTraffic, now: float) -> None:
        """Count what readers have been written since it was last counted, at this moment."""
        for telling in self._tellings.values():
            if telling is not None:
                telling.count(traffic, now)
