"""The lag of the event loop: how late its timers fire, because it was busy."""

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
    """A timer that is set again and again; `late` observes the seconds by which it fires late.

    `on_lag` is called with each measurement, in seconds.
    """

    def __init__(self, on_lag: Callable[[float], None]) -> None:
        self._on_lag = on_lag
        self.late = Histogram(SECONDS)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to measure the running loop."""
        # Not loop.time(), which stands still during a pass of the loop.
        self._due = perf_counter() + EVERY_S
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._on_timer)

    def _on_timer(self) -> None:
        late_s = max(0.0, perf_counter() - self._due)
        self.late.observe(late_s)
        self._on_lag(late_s)
        self.start()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
