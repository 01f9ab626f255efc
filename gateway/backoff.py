"""How long to wait before the next attempt."""

from __future__ import annotations


class Backoff:
    """Growing waits, spread so that many clients do not come back at once."""

    FIRST_S = 0.5

    def __init__(self, spread: float, longest_s: float = 30.0) -> None:
        # Between 0 and 1, drawn once for a process: clients differ, the waits of one only grow.
        self._spread = spread
        self._longest_s = longest_s
        self._failures = 0

    def reset(self) -> None:
        """The last attempt was good."""
        self._failures = 0

    def next_s(self) -> float:
        """The wait after one more failure."""
        # The power is bounded so that days of failures overflow nothing.
        grown = self.FIRST_S * 2.0 ** min(self._failures, 10)
        self._failures += 1
        return min(grown, self._longest_s) * (1 - self._spread / 2)
