"""Rate limits: a leaky bucket for each client, which refuses and never waits."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Buckets: 10 MB. Of more clients than that the one who has been quiet longest begins anew.
MOST_CLIENTS = 65_536


class ClientRate:
    """At most `most` at once, and on average as much in each `period_s`; 0 is no bound.

    `clock` tells seconds that only go forward. Who has room for one may do something larger, and
    has to wait the longer after it.
    """

    def __init__(self, most: int, period_s: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._per_s = most / period_s
        self._clock = clock
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how much, and when

    def __bool__(self) -> bool:
        return self._most > 0

    def __len__(self) -> int:
        return len(self._used)

    def again_s(self, who: str) -> int:
        """Return in how many whole seconds a client has room for one again; 0 while it has."""
        if not self._most:
            return 0
        over = self._left_in_bucket(who, self._clock()) + 1 - self._most
        return math.ceil(over / self._per_s) if over > 0 else 0

    def count(self, who: str, amount: float) -> None:
        """Count `amount` for a client."""
        if not self._most:
            return
        now = self._clock()
        self._used[who] = (self._left_in_bucket(who, now) + amount, now)
        self._used.move_to_end(who)
        if len(self._used) > MOST_CLIENTS:
            self._used.popitem(last=False)

    def _left_in_bucket(self, who: str, now: float) -> float:
        used, at = self._used.get(who, (0.0, now))
        return max(0.0, used - (now - at) * self._per_s)
