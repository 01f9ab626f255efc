"""The lag of the event loop, and load shedding while it is late.

Requests are refused in an order of priority: reads that are not cached first, then new live
readers, and appends last. Cached reads and the live readers that wait already are always served.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import LimitReached
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.runtime.limits import ServerLimits

EVERY_S = 0.1
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# As far as two looks of the console are apart: it may have missed nothing by a shorter one. On a
# busy machine a loop is late by 3 s now and then, which is no event: the histogram has it.
STILL_S = 5.0

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


class LoopLag:
    """A timer that is set again and again; `late` observes its lags in seconds.

    After a lag of STILL_S, a line says that the process stood still.
    """

    def __init__(self, running: Callable[[], float], process: str) -> None:
        """Measure by `running`, the seconds of a clock that is never set; name the `process`.

        With a clock that runs on while the machine is suspended, that counts, too.
        """
        self.late = Histogram(SECONDS)
        self._running, self._process = running, process
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to measure the lag of the running loop."""
        # Not loop.time(), which stands still during a pass of the loop.
        self._due = self._running() + EVERY_S
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._on_timer)

    def _on_timer(self) -> None:
        late_s = max(0.0, self._running() - self._due)
        self.late.observe(late_s)
        if late_s >= STILL_S:
            log.warning("process.stood_still", process=self._process, for_s=round(late_s, 1))
        self.add_lag(late_s)
        self.start()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()

    def add_lag(self, lag_s: float) -> None:
        """Add a measurement of the lag, which comes ten times a second."""


class Shedding(LoopLag):
    """The step of shedding in force, `level`, by the latest lags; a limit of 0 sheds nothing."""

    def __init__(
        self,
        max_loop_lag_s: float,
        limits: ServerLimits,
        running: Callable[[], float],
        process: str,
    ) -> None:
        super().__init__(running, process)
        self.level = SheddingLevel.NOTHING
        self._limits = limits
        self._latest: list[float] = []  # lags in a row, the last ones
        self._calm = 0
        self.limit_lag(max_loop_lag_s)

    def limit_lag(self, max_loop_lag_s: float) -> None:
        """Shed by this limit from the next measurement on; 0 sheds nothing."""
        begin = {READS: READS_AT, LIVE: LIVE_AT, APPENDS: APPENDS_AT}
        self._begin_s = {level: max_loop_lag_s * factor for level, factor in begin.items()}
        self._is_bounded = max_loop_lag_s > 0
        if not self._is_bounded:
            self.level = SheddingLevel.NOTHING

    @override
    def add_lag(self, lag_s: float) -> None:
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
