"""The time that a message waits for the answers before it."""

from __future__ import annotations

import asyncio
import math

BEGINS_WITHIN_S = 3.0  # whoever has asked is about to start the run


class Patience:
    """The deadlines of one message: for earlier answers to begin, and for them to end."""

    def __init__(self, busy_after_s: float) -> None:
        self._time = asyncio.get_running_loop().time
        self._busy_at = self._time() + busy_after_s
        self._run = ""  # that has not begun
        self._begins_until = math.inf

    def is_over(self, run: str, *, has_begun: bool) -> bool:
        """Return whether the run is not waited for any more."""
        if has_begun:
            return self._time() >= self._busy_at
        if run != self._run:
            self._run, self._begins_until = run, self._time() + BEGINS_WITHIN_S
        return self._time() >= self._begins_until
