"""Limits of sign-in attempts: a few at once, then one at a time."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MOST_KEYS = 10_000  # 2 MB; a password check takes longer than it takes to be forgotten


class Allowance(NamedTuple):
    """A token bucket: `at_once` attempts, refilled by one in `every_s` seconds."""

    at_once: int
    every_s: float


OF_A_NAME = Allowance(5, 30.0)  # 2,885 guesses a day
OF_AN_ADDRESS = Allowance(20, 3.0)  # from which several people may come


class Attempts:
    """The attempts counted by name, or by address."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._clock = clock
        # When the allowance of a key is whole again; the oldest attempt first.
        self._whole_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, key: Hashable) -> int:
        """Return the seconds until the next attempt is allowed: 0 if it is now."""
        at_once, every_s = self._allowance
        # Never more than for one attempt: the clock may have been set back.
        return max(0, ceil(min(every_s, self._used_s(key) - (at_once - 1) * every_s)))

    def count(self, key: Hashable) -> None:
        """Count an attempt."""
        at_once, every_s = self._allowance
        used_s = min(self._used_s(key), (at_once - 1) * every_s) + every_s
        self._whole_at.pop(key, None)
        self._whole_at[key] = self._clock() + used_s
        if len(self._whole_at) > MOST_KEYS:
            self._whole_at.popitem(last=False)

    def _used_s(self, key: Hashable) -> float:
        """Return the seconds until the allowance is full again."""
        return max(0.0, self._whole_at.get(key, 0.0) - self._clock())

    def forget(self, key: Hashable) -> None:
        """Forget the attempts before one that succeeded."""
        self._whole_at.pop(key, None)
