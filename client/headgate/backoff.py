"""Exponential back-off: each failure in a row doubles the wait, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_DOUBLINGS = 20  # so that days of failures overflow nothing


def wait_s(failures: int, first_s: float, longest_s: float, chance: float = 1.0) -> float:
    """Return the wait in seconds after one more failure than `failures`.

    `chance` in [0, 1] spreads the clients: they do not all come back at once, nor before half
    of the time.
    """
    grown = first_s * 2.0 ** min(failures, MOST_DOUBLINGS)
    return min(grown, longest_s) * (0.5 + chance / 2)


class Backoff:
    """The waits between a client's attempts, each spread by a `chance` of its own."""

    def __init__(
        self, first_s: float, longest_s: float, chance: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance
        self._failures = 0

    def reset(self) -> None:
        """Start again at the first wait, because the last attempt succeeded."""
        self._failures = 0

    def next_s(self) -> float:
        """Count one more failure, and return the wait after it in seconds."""
        wait = wait_s(self._failures, self._first_s, self._longest_s, self._chance())
        self._failures += 1
        return wait
