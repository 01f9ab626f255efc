"""The latest news of a feed, for polls that have their turn, or come back, after the round.

Whoever was answered asks for what follows, and in a herd others are still to be answered by then.
So that nobody of them has to be read for, what they may lack is kept while they are many.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, NewsAge

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE_BYTES = 256  # what a piece counts for beside its data, so that there are not too many


class RecentNews(Generic[N]):
    """Nothing is kept before `begin`; from then on all news, until they are trimmed.

    They follow `start` and come to `end`, which are offsets.
    """

    __slots__ = ("_ends", "_pieces", "_sizes", "bytes", "end", "start")

    def __init__(self) -> None:
        self.start = self.end = ""
        self.bytes = 0
        self._ends: list[str] = []
        self._pieces: list[tuple[Sequence[N], NewsAge]] = []
        self._sizes: list[int] = []

    def __bool__(self) -> bool:
        """Return whether news are kept."""
        return self.start != ""

    def begin(self, start: str) -> None:
        """Keep the news that follow an offset."""
        self.clear()
        self.start = self.end = start

    def add(self, end: str, news: Sequence[N], size: int, told: NewsAge) -> None:
        """Keep the next ones, which come to an offset and are so many bytes."""
        size += PIECE_BYTES
        self.end = end
        self._ends.append(end)
        self._pieces.append((news, told))
        self._sizes.append(size)
        self.bytes += size

    def covers(self, position: str) -> bool:
        """Return whether there are kept news after an offset."""
        return "" != self.start <= position < self.end

    def since(self, position: str) -> Sequence[N]:
        """Return the kept news after an offset; none where they are not kept."""
        if not self.covers(position):
            return ()
        pieces = self._pieces[bisect_right(self._ends, position) :]
        return pieces[0][0] if len(pieces) == 1 else [item for news, _ in pieces for item in news]

    def told(self, position: str) -> NewsAge | None:
        """Return the age of the kept news after an offset; None where they are not kept."""
        if not self.covers(position):
            return None
        at = self._pieces[bisect_right(self._ends, position)][1].at
        return NewsAge(at, self._pieces[-1][1].trace_id)

    def trim(self, told: str, most: int) -> None:
        """Keep no more than so many bytes of what was told already, up to an offset."""
        oldest = 0
        while self.bytes > most and oldest < len(self._ends) and self._ends[oldest] <= told:
            self.bytes -= self._sizes[oldest]
            oldest += 1
        if oldest:
            self.start = self._ends[oldest - 1]
            del self._ends[:oldest], self._pieces[:oldest], self._sizes[:oldest]

    def clear(self) -> None:
        """Keep nothing."""
        self.start = self.end = ""
        self.bytes = 0
        self._ends.clear()
        self._pieces.clear()
        self._sizes.clear()
