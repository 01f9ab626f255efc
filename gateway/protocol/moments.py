"""The present by two clocks: the one of the calendar, and the one that counts how long things last.

The wall clock is set now and then: by hand, by NTP after a start without a battery, by whoever
moves a virtual machine. So how long a stream was idle is counted by a clock that nobody sets.
"""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """The present, in epoch seconds by both clocks.

    `steady` goes on evenly when the wall clock is set; until that happens both are the same.
    """

    wall: float
    steady: float


class Noted(NamedTuple):
    """What a log has kept of the clocks of the process that had it before.

    `in_doubt` says that the wall clock had moved on too far shortly before.
    """

    moment: Moment
    in_doubt: bool = False


def resumed(noted: Moment, wall: float) -> float:
    """Return the steady time at a start: the time of the stop counts, as the wall clock tells it.

    When the wall clock tells that no time has passed, or less than none, none counts.
    """
    return noted.steady + max(0.0, wall - noted.wall)
