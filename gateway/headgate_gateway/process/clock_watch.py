"""A watch on the clock of the machine, which may be set while this process runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from headgate_gateway.streams.clock import WallClockSteps
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# This clock runs on while the machine is suspended, so that a stream expires after the same time
# whether the server runs, is stopped or sleeps with its machine. Other systems do not count sleep.
RUNNING = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
# So that a late look sees it, and a minute longer than the rule looks back: the card stays one.
NOTED_S = 3660.0
CLOCK_SETS = counter(
    "headgate_clock_sets_total", "Times that the clock of the machine was set by a second or more."
)


def running_s() -> float:
    """Return the seconds since an arbitrary moment, by a clock that is never set."""
    return time.clock_gettime(RUNNING)


class ClockWatch:
    """The distance between the wall clock and one that is never set, at each look.

    `wall` returns epoch seconds, and `running` seconds since an arbitrary moment.
    """

    def __init__(self, wall: Callable[[], float], running: Callable[[], float]) -> None:
        self._wall, self._running = wall, running
        self._steps = WallClockSteps(wall() - running())
        self._moved, self._moved_at = 0.0, 0.0  # by how much at last, and when (running)
        self._sets = 0

    def _look(self) -> float:
        """Notice that the clock was set; return the running time."""
        running = self._running()
        moved = self._steps.look(self._wall() - running)
        if moved:
            log.warning("clock.set", by_s=round(moved, 3))
            self._moved, self._moved_at = moved, running
            self._sets += 1
        return running

    def samples(self) -> Iterator[Sample]:
        """Yield how often the clock was set."""
        self._look()
        yield Sample(CLOCK_SETS, (), self._sets)

    def notes(self) -> Iterator[HealthNote]:
        """Yield for an hour that the clock was set."""
        cause = None
        if self._sets and self._look() - self._moved_at <= NOTED_S:
            way = "forward" if self._moved > 0 else "back"
            cause = Cause("set", {"way": way, "by_s": abs(self._moved)})
        yield HealthNote("clock", cause=cause)
