"""How often somebody may try to sign in: a few times at once, then one attempt after the other."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MOST_KEYS = 10_000  # 2 MB; a password check takes longer than it takes to be forgotten


class Allowance(NamedTuple):
    """So many at once, and another one after so many seconds each."""

    at_once: int
    every_s: float


OF_A_NAME = Allowance(5, 30.0)  # 2,885 guesses a day
OF_AN_ADDRESS = Allowance(20, 3.0)  # from which several people may come


class Attempts:
    """What is left of the allowance of each name, or of each address."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._clock = clock
        # When the allowance of a key is whole again; the oldest attempt first.
        self._whole_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, key: Hashable) -> int:
        """How long until the next attempt may be made: 0 when it may be made now."""
        at_once, every_s = self._allowance
        # Never more than for one attempt: the clock may have been set back.
        return max(0, ceil(min(every_s, self._used_s(key) - (at_once - 1) * every_s)))

    def count(self, key: Hashable) -> None:
        """An attempt is made."""
        at_once, every_s = self._allowance
        used_s = min(self._used_s(key), (at_once - 1) * every_s) + every_s
        self._whole_at.pop(key, None)
        self._whole_at[key] = self._clock() + used_s
        if len(self._whole_at) > MOST_KEYS:
            self._whole_at.popitem(last=False)

    def _used_s(self, key: Hashable) -> float:
        """How long until the allowance is whole again."""
        return max(0.0, self._whole_at.get(key, 0.0) - self._clock())

    def forget(self, key: Hashable) -> None:
        """The attempt was right: those before it were mistakes."""
        self._whole_at.pop(key, None)
