"""Load shedding while the event loop is late: requests are refused in an order of priority.

Reads that are not cached are refused first, then new live readers, and appends last. Cached reads
and the live readers that wait already are always served.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from gateway.errors import LimitReached

if TYPE_CHECKING:
    from gateway.runtime.limits import ServerLimits

# Multiples of max_loop_lag at which each step begins.
READS_AT, LIVE_AT, APPENDS_AT = 1, 2, 4
# Measurements in a row that must be too high before anything is refused: a single long turn is
# over by the time that it is measured.
LATE_IN_A_ROW = 2
# A step ends after a second below half of its lag, so that it does not flap.
CALM_IN_A_ROW = 10
CALM_SHARE = 0.5


class SheddingLevel(IntEnum):
    """The steps of shedding; each also refuses what the steps before it refuse."""

    NOTHING = 0
    READS = 1
    LIVE = 2
    APPENDS = 3


READS, LIVE, APPENDS = SheddingLevel.READS, SheddingLevel.LIVE, SheddingLevel.APPENDS
_WHAT = {READS: "reads that are not cached", LIVE: "live reads", APPENDS: "writes"}


class Shedding:
    """The step of shedding in force, `level`, by the latest lags; a limit of 0 sheds nothing."""

    def __init__(self, max_loop_lag_s: float, limits: ServerLimits) -> None:
        self.level = SheddingLevel.NOTHING
        self._limits = limits
        self._latest: list[float] = []  # lags in a row, the last ones
        self._calm = 0
        self.limit_lag(max_loop_lag_s)

    def limit_lag(self, max_loop_lag_s: float) -> None:
        """Shed by this limit from the next measurement on; 0 sheds nothing."""
        self._begin_s = {
            SheddingLevel.READS: max_loop_lag_s * READS_AT,
            SheddingLevel.LIVE: max_loop_lag_s * LIVE_AT,
            SheddingLevel.APPENDS: max_loop_lag_s * APPENDS_AT,
        }
        self._is_bounded = max_loop_lag_s > 0
        if not self._is_bounded:
            self.level = SheddingLevel.NOTHING

    def add_lag(self, lag_s: float) -> None:
        """Add a measurement of the lag, which comes ten times a second, and adjust the level."""
        if not self._is_bounded:
            return
        self._latest = [*self._latest[1 - LATE_IN_A_ROW :], lag_s]
        lasting_s = min(self._latest) if len(self._latest) == LATE_IN_A_ROW else 0.0
        reached = max(
            (step for step, at_s in self._begin_s.items() if lasting_s >= at_s), default=0
        )
        if reached > self.level:
            self.level, self._calm = SheddingLevel(reached), 0
        elif self.level:
            is_calm = lag_s < self._begin_s[self.level] * CALM_SHARE
            self._calm = self._calm + 1 if is_calm else 0
            if self._calm == CALM_IN_A_ROW:
                self.level, self._calm = SheddingLevel(self.level - 1), 0

    def check(self, what: SheddingLevel) -> None:
        """Raise LimitReached if this kind of request is refused now."""
        if self.level >= what:
            self._limits.refused["max_loop_lag"] += 1
            raise LimitReached(f"max_loop_lag is reached: too busy for {_WHAT[what]}")
