"""How far a stream is known to go, for who judges whether an answer has all of it."""

from __future__ import annotations

from typing import NamedTuple


class Reach(NamedTuple):
    """A stream goes to `tail` at least, and ends there if it is `closed`."""

    tail: str = ""
    closed: bool = False

    def together(self, other: Reach) -> Reach:
        """What is known by both."""
        return Reach(max(self.tail, other.tail), self.closed or other.closed)

    def is_told_by(self, tail: str, *, closed: bool) -> bool:
        """Whether nothing of it is missing where a stream is told to end so."""
        return self.tail <= tail and (closed or not self.closed)
