"""The present by two clocks: the wall clock, and a steady clock that measures durations.

The wall clock is set now and then: by hand, by NTP after a start without a battery, or when a
virtual machine moves. So the idle time of a stream is measured by a clock that nobody sets.
"""

from __future__ import annotations

from typing import NamedTuple


class ClockReading(NamedTuple):
    """The present, in epoch seconds by both clocks.

    `steady` goes on evenly when the wall clock is set. Until that happens both are equal.
    """

    wall: float
    steady: float


class ClockRecord(NamedTuple):
    """The state of the clocks as a log's previous process noted it.

    `in_doubt` is True if the wall clock had moved on too far shortly before.
    """

    moment: ClockReading
    in_doubt: bool = False


def steady_at_start(noted: ClockReading, wall: float) -> float:
    """Return the steady time at a start: the stop counts as the wall clock measured it.

    If the wall clock has not moved on, or was set back, the stop counts as nothing.
    """
    return noted.steady + max(0.0, wall - noted.wall)
