"""A clock that stands until a test turns it."""

from __future__ import annotations

from headgate_gateway.protocol.streams.state import ClockReading

# Before the clock of any server that a log is in: nothing is removed that has not expired by that.
PAST = 1_700_000_000.0


class ManualClock:
    """Epoch seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def at(seconds: float) -> ClockReading:
    """Return a moment at which no clock has been set."""
    return ClockReading(seconds, seconds)
