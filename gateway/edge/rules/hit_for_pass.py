"""Hit-for-pass: which answers are known not to be kept, so that nobody waits for another's."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

LIFETIME_S = 60.0  # of what is known of a request: its answer may be one to keep after all
MOST = 10_000  # requests: about 2 MB


class HitForPass:
    """The requests, by what equal ones are equal in. Beyond a bound the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.until: OrderedDict[Hashable, float] = OrderedDict()  # nothing is in most of them

    def __len__(self) -> int:
        return len(self.until)

    def __contains__(self, key: Hashable) -> bool:
        return self.until.get(key, 0.0) > self._clock()

    def add(self, key: Hashable) -> None:
        """Note a request whose answer was not to be kept."""
        self.until[key] = self._clock() + LIFETIME_S
        self.until.move_to_end(key)
        if len(self.until) > MOST:
            self.until.popitem(last=False)
