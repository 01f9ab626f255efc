"""The beats of the gateways of a shared log: which of them run, as far as one of them can tell.

A gateway whose count of beats stays the same for MISSES rounds in a row has stopped. No two clocks
are compared. Rounds count by the time between them: not those that the log did not answer, nor
those that requests begin beside the regular ones, nor any before a moment at which this gateway
itself stood still.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BEAT_S = 0.5
# A gateway has stopped after so many rounds in which it has not beaten: three seconds, in which a
# process that is paused for less, or a busy machine, has beaten again.
MISSES = 6
STOPPED_S = (MISSES - 1) * BEAT_S  # since its last beat, a gateway may count as stopped
LEAST_ROUND_S = 0.9 * BEAT_S  # since the round before; MISSES of them last longer than STOPPED_S
MOST_ROUND_S = BEAT_S + 1.0  # beyond it this gateway stood still, and perhaps others with it


class OtherGateways:
    """The beats of the other gateways, as this one reads them round by round."""

    def __init__(self) -> None:
        self._seen: dict[str, int | None] = {}  # beats in the last round
        self._missed: Counter[str] = Counter()  # rounds since they have beaten
        self._round_at = -inf  # of the last round that counts
        self._watched: set[str] = set()  # whose beats count as missed although none was seen

    def watch(self, name: str) -> None:
        """Count the beats that a gateway misses, also if it has never beaten."""
        self._watched.add(name)

    def see(self, found: Mapping[str, int], now: float) -> list[str]:
        """Take the beats that a round began to read at `now`; return the gateways that stopped.

        `now` is a time that goes on while this process stands still.
        """
        since_s = now - self._round_at
        if since_s >= LEAST_ROUND_S:
            self._round_at = now
        if since_s > MOST_ROUND_S:
            self._missed.clear()  # those so far may have had another reason
        counts = LEAST_ROUND_S <= since_s <= MOST_ROUND_S
        for name in found.keys() | self._seen.keys() | self._watched:
            beats = found.get(name)
            if beats is None or self._seen.get(name) == beats:
                self._missed[name] += counts
            else:
                self._missed[name] = 0
                self._watched.discard(name)
            self._seen[name] = beats
        return [name for name, missed in self._missed.items() if missed >= MISSES]

    def missed(self, name: str) -> int:
        """Return for how many rounds a gateway has not beaten."""
        return self._missed[name]

    def forget(self, name: str) -> None:
        """Watch a gateway no more."""
        self._seen.pop(name, None)
        self._missed.pop(name, None)
