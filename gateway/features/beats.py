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

from gateway.features.redis.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.redis.heartbeats import RedisHeartbeats
    from gateway.logs.contract import Log

BEAT_S = 0.5
# A gateway has stopped after so many rounds in which it has not beaten: three seconds, in which a
# process that is paused for less, or a busy machine, has beaten again.
MISSES = 6
STOPPED_S = (MISSES - 1) * BEAT_S  # since its last beat, a gateway may count as stopped
LEAST_ROUND_S = 0.9 * BEAT_S  # since the round before; MISSES of them last longer than STOPPED_S
MOST_ROUND_S = BEAT_S + 1.0  # beyond it this gateway stood still, and perhaps others with it
# Gateways that have stopped are remembered for answers that are found later.
MOST_STOPPED = 1000


def heartbeats_of(log: Log) -> RedisHeartbeats | None:
    """Return the heartbeats of a log; None for one that no other process writes."""
    if (store := store_of(log)) is None:
        return None
    from gateway.features.redis.heartbeats import RedisHeartbeats

    return RedisHeartbeats(store)


class OwnHeartbeats:
    """The beats of this gateway, and until when others may still take it for stopped."""

    def __init__(self) -> None:
        self.number = 0
        self._latest_at: float | None = None  # loop time
        self._hidden_until = 0.0

    def note(self, now: float) -> None:
        """Note that a beat is stored."""
        if self._latest_at is not None and self.is_overdue(now):
            self._hidden_until = now + 2 * BEAT_S
        self._latest_at = now

    def is_overdue(self, now: float) -> bool:
        """Return whether this gateway may count as stopped until its next beat."""
        return self._latest_at is None or now - self._latest_at > STOPPED_S

    def hidden_s(self, now: float) -> float:
        """Return for how many seconds others may take this gateway for stopped."""
        return max(0.0, self._hidden_until - now)


class OtherGateways:
    """The beats of the other gateways, as this one reads them round by round."""

    def __init__(self) -> None:
        self._seen: dict[str, int | None] = {}  # beats in the last round
        self._missed: Counter[str] = Counter()  # rounds since they have beaten
        self._round_at = -inf  # of the last round that counts
        self._stopped: dict[str, None] = {}
        self._suspects: set[str] = set()  # those that are asked about, known or not

    def may_run(self, name: str) -> bool:
        """Return whether a gateway runs as far as is known; it is watched from now on."""
        if name in self._stopped:
            return False
        self._suspects.add(name)
        return True

    def has_just_beaten(self, name: str) -> bool:
        """Return whether a gateway has beaten in the last round."""
        return name in self._seen and not self._missed[name]

    def see(self, found: Mapping[str, int], now: float) -> list[str]:
        """Take the beats that a round began to read at `now`; return who has stopped.

        `now` is a time that goes on while this process stands still.
        """
        since_s = now - self._round_at
        if since_s >= LEAST_ROUND_S:
            self._round_at = now
        if since_s > MOST_ROUND_S:
            self.excuse()
        counts = LEAST_ROUND_S <= since_s <= MOST_ROUND_S
        self._suspects -= self._stopped.keys()
        for name in found.keys() | self._seen.keys() | self._suspects:
            beats = found.get(name)
            if beats is None or self._seen.get(name) == beats:
                self._missed[name] += counts
            else:
                self._missed[name] = 0
                self._stopped.pop(name, None)
                self._suspects.discard(name)
            self._seen[name] = beats
        return [name for name, missed in self._missed.items() if missed >= MISSES]

    def missed(self, name: str) -> int:
        """Return for how many rounds a gateway has not beaten."""
        return self._missed[name]

    def excuse(self) -> None:
        """Begin to count the missed beats anew: those so far had another reason."""
        self._missed.clear()

    def mark_stopped(self, name: str) -> None:
        """Note that a gateway has stopped."""
        self._stopped[name] = None
        if len(self._stopped) > MOST_STOPPED:
            del self._stopped[next(iter(self._stopped))]

    def forget(self, name: str) -> None:
        """Watch a gateway no more, since its answers are ended."""
        self._seen.pop(name, None)
        self._missed.pop(name, None)
