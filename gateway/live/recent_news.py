"""The latest news of a feed, for long-polls that are answered, or come back, after the round.

A client that got its response asks for what follows at once. In a herd, others are still waiting
for their turn then. The news that any of them may lack is stored while they are many, so that none
of them costs a read of the log or origin.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, NamedTuple

from gateway.live.contract import N, NewsAge

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE_BYTES = 256  # added to the size of each piece, so that their number is bounded, too


class _StoredNews(NamedTuple, Generic[N]):
    """The news of one publication, which ends at the offset `end`."""

    end: str
    news: Sequence[N]
    age: NewsAge
    size: int


_END = attrgetter("end")


class RecentNews(Generic[N]):
    """The news between the offsets `start` and `end`; empty before the first `restart`."""

    __slots__ = ("_pieces", "bytes", "end", "start")

    def __init__(self) -> None:
        self.start = self.end = ""
        self.bytes = 0
        self._pieces: list[_StoredNews[N]] = []

    def __bool__(self) -> bool:
        """Return whether news is being stored."""
        return self.start != ""

    def restart(self, start: str) -> None:
        """Drop everything, and store the news that follows `start` from now on."""
        self.start = self.end = start
        self.bytes = 0
        self._pieces.clear()

    def add(self, end: str, news: Sequence[N], size: int, age: NewsAge) -> None:
        """Store the next news, which ends at the offset `end` and has `size` bytes."""
        self.end = end
        self._pieces.append(_StoredNews(end, news, age, size + PIECE_BYTES))
        self.bytes += size + PIECE_BYTES

    def covers(self, position: str) -> bool:
        """Return whether all news after `position` is stored, and there is some."""
        return "" != self.start <= position < self.end

    def since(self, position: str) -> tuple[Sequence[N], NewsAge | None]:
        """Return the stored news after `position`, and its age; nothing if it is not covered."""
        if not self.covers(position):
            return (), None
        pieces = self._pieces[bisect_right(self._pieces, position, key=_END) :]
        age = NewsAge(pieces[0].age.at, pieces[-1].age.trace_id)
        if len(pieces) == 1:
            return pieces[0].news, age
        return [item for piece in pieces for item in piece.news], age

    def trim(self, sent: str, most: int) -> None:
        """Drop the oldest news up to the offset `sent`, until at most `most` bytes are left.

        Where nothing is left, no news is stored before the next `restart`.
        """
        oldest = 0
        for piece in self._pieces:
            if self.bytes <= most or piece.end > sent:
                break
            self.bytes -= piece.size
            self.start = piece.end
            oldest += 1
        del self._pieces[:oldest]
        if not self._pieces:
            self.restart("")
