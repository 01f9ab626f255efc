"""The lag of the event loop: how late it comes to a timer, for so long it served nobody."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 0.1
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """A timer that is set again and again: `late` observes how much later than due it came.

    `tell` is told each time, in seconds.
    """

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self.late = Histogram(SECONDS)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        # The loop's own time stands still while a turn takes.
        self._due = perf_counter() + EVERY_S
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._came)

    def _came(self) -> None:
        late_s = max(0.0, perf_counter() - self._due)
        self.late.observe(late_s)
        self._tell(late_s)
        self.start()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
