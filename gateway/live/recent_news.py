"""The latest news of a feed, for long-polls that are answered, or come back, after the round.

A client that got its response asks for what follows at once. In a herd, others are still waiting
for their turn then. The news that any of them may lack is stored while they are many, so that none
of them costs a read of the log or origin.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, NewsAge

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE_BYTES = 256  # added to the size of each piece, so that their number is bounded, too


class RecentNews(Generic[N]):
    """The news between the offsets `start` and `end`; empty before the first `restart`."""

    __slots__ = ("_ends", "_pieces", "_sizes", "bytes", "end", "start")

    def __init__(self) -> None:
        self.start = self.end = ""
        self.bytes = 0
        self._ends: list[str] = []
        self._pieces: list[tuple[Sequence[N], NewsAge]] = []
        self._sizes: list[int] = []

    def __bool__(self) -> bool:
        """Return whether news is being stored."""
        return self.start != ""

    def restart(self, start: str) -> None:
        """Drop everything, and store the news that follows `start` from now on."""
        self.clear()
        self.start = self.end = start

    def add(self, end: str, news: Sequence[N], size: int, age: NewsAge) -> None:
        """Store the next news, which ends at the offset `end` and has `size` bytes."""
        size += PIECE_BYTES
        self.end = end
        self._ends.append(end)
        self._pieces.append((news, age))
        self._sizes.append(size)
        self.bytes += size

    def covers(self, position: str) -> bool:
        """Return whether all news after `position` is stored, and there is some."""
        return "" != self.start <= position < self.end

    def since(self, position: str) -> Sequence[N]:
        """Return the stored news after `position`; nothing if it is not covered."""
        if not self.covers(position):
            return ()
        pieces = self._pieces[bisect_right(self._ends, position) :]
        return pieces[0][0] if len(pieces) == 1 else [item for news, _ in pieces for item in news]

    def age(self, position: str) -> NewsAge | None:
        """Return the age of the stored news after `position`; None if it is not covered."""
        if not self.covers(position):
            return None
        at = self._pieces[bisect_right(self._ends, position)][1].at
        return NewsAge(at, self._pieces[-1][1].trace_id)

    def trim(self, sent: str, most: int) -> None:
        """Drop the oldest news up to the offset `sent`, until at most `most` bytes are left."""
        oldest = 0
        while self.bytes > most and oldest < len(self._ends) and self._ends[oldest] <= sent:
            self.bytes -= self._sizes[oldest]
            oldest += 1
        if oldest:
            self.start = self._ends[oldest - 1]
            del self._ends[:oldest], self._pieces[:oldest], self._sizes[:oldest]

    def clear(self) -> None:
        """Drop everything, and store no news before the next `restart`."""
        self.start = self.end = ""
        self.bytes = 0
        self._ends.clear()
        self._pieces.clear()
        self._sizes.clear()
