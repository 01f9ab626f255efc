"""One round of events: rendered once for all who are written the same, and counted as one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.contract import DataEvent
    from gateway.telemetry.live_traffic import LiveTraffic

    Piece = tuple[bytes, str, bool]  # a chunk, where its data ends, and whether that is the tail


class TellsPosition(Protocol):
    """Who says where a reader is."""

    def control_event(self, position: str, floor: int) -> bytes:
        """What tells a reader that it is at `position`; its cursors are at least `floor`."""


class HasFloor(Protocol):
    """A reader: `cursor` is the floor of its cursors."""

    cursor: int


class EventRound:
    """The events of a round; `rendered` has them by the floor of the cursors of who is told."""

    def __init__(self, events: Sequence[DataEvent], tail: str, tells: TellsPosition) -> None:
        self._events = events
        self._tail = tail
        self._tells = tells
        self.rendered: dict[int, list[Piece]] = {}
        self._sizes: dict[int, int] = {}

    def render(self, floor: int) -> list[Piece]:
        """What readers with this floor are written."""
        pieces = self.rendered[floor] = []
        self._sizes[floor] = 0
        for data, end in self._events:
            piece = data + self._tells.control_event(end, floor)
            self._sizes[floor] += len(piece)
            pieces.append((http1.chunk(piece), end, end == self._tail))
        return pieces

    def count(self, readers: Sequence[HasFloor], traffic: LiveTraffic, *, are_news: bool) -> None:
        """Count what these readers were written."""
        # Nearly always all have the same floor, so that they need not be counted one by one.
        groups = dict.fromkeys(self.rendered, len(readers))
        if len(groups) > 1:
            groups = Counter(reader.cursor for reader in readers)
        news = len(self._events) if are_news else 0
        for floor, count in groups.items():
            traffic.wrote_events(count, self._sizes[floor], news)
        if are_news:
            traffic.collapsed.observe(len(readers))


def take_back(pieces: Sequence[Piece], end: str, traffic: LiveTraffic) -> None:
    """Of what is counted, one reader was not written the pieces from the one with this end on."""
    first = [piece[1] for piece in pieces].index(end)
    for piece, _, _ in pieces[first:]:
        traffic.wrote_events(-1, len(http1.unframe(piece)), 1)
