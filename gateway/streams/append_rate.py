"""The rate of a stream's appends in the last minute, by two counts and no timer."""

from __future__ import annotations

import msgspec

MINUTE_S = 60.0


class AppendRate(msgspec.Struct, gc=False, eq=False):
    """The appends of this minute, and a share of those of the minute before.

    The appends of the minute before are taken to be evenly spread.
    """

    _minute: int = 0
    _before: int = 0
    _now: int = 0

    def count(self, appends: int, now: float) -> None:
        """Count appends that were stored at `now` (perf_counter)."""
        minute = int(now // MINUTE_S)
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else 0
            self._now = 0
            self._minute = minute
        self._now += appends

    def per_second(self, now: float) -> float:
        """Return the appends per second in the minute up to `now` (perf_counter)."""
        minute, passed = divmod(now, MINUTE_S)
        if minute == self._minute:
            recent = self._now + self._before * (1 - passed / MINUTE_S)
        elif minute == self._minute + 1:
            recent = self._now * (1 - passed / MINUTE_S)
        else:
            recent = 0.0
        return recent / MINUTE_S
