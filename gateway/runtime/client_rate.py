"""Rate limits: a leaky bucket for each client, which refuses requests and never delays them."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Buckets: 10 MB. Beyond that, the bucket of the client that was idle for longest is dropped.
MOST_CLIENTS = 65_536


class ClientRate:
    """A limit for each client: `most` at once, and on average `most` in each `period_s` seconds.

    0 is no limit. `clock` returns seconds that only go forward. A client that has room for one may
    do something larger, and then waits for longer.
    """

    def __init__(self, most: int, period_s: float, clock: Callable[[], float]) -> None:
        self._period_s = period_s
        self._clock = clock
        self.limit(most)
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # amount, and when

    def limit(self, most: int) -> None:
        """Set the limit from now on; what the clients have used counts on."""
        self._most = most
        self._per_s = most / self._period_s

    def __bool__(self) -> bool:
        return self._most > 0

    def __len__(self) -> int:
        return len(self._used)

    def again_s(self, who: str) -> int:
        """Return the whole seconds until a client has room for one more; 0 if it has room now."""
        if not self._most:
            return 0
        over = self._left_in_bucket(who, self._clock()) + 1 - self._most
        return math.ceil(over / self._per_s) if over > 0 else 0

    def count(self, who: str, amount: float) -> None:
        """Add `amount` to a client's bucket."""
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
