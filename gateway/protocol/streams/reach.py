"""The known reach of a stream, by which responses are judged complete."""

from __future__ import annotations

from typing import NamedTuple


class TailBound(NamedTuple):
    """A lower bound of a stream: it reaches `tail` at least, and ends there if it is `closed`."""

    tail: str = ""
    closed: bool = False

    def together(self, other: TailBound) -> TailBound:
        """Return the greater of two bounds."""
        return TailBound(max(self.tail, other.tail), self.closed or other.closed)

    def is_reached_by(self, tail: str, *, closed: bool) -> bool:
        """Return whether a response with this tail and closure has all that is known."""
        return self.tail <= tail and (closed or not self.closed)
