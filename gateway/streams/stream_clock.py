"""The clock for the deadlines of one log's streams, and its doubt of the wall clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol.streams.state import ClockReading, ClockRecord, steady_at_start
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S = 3600.0
# The wall clock was set when it moved by so much. NTP sets it for an eighth of a second, and slews
# both clocks for less; deadlines are whole seconds away.
LEAST_JUMP_S = 1.0


class WallClockSteps:
    """The steps by which the wall clock is set, as each look sees them.

    An offset is the time of the wall clock less that of a clock that nobody sets, in seconds.
    """

    def __init__(self, offset_s: float, **fields: str) -> None:
        """Begin at an offset; `fields` are added to log lines."""
        self._offset_s = offset_s
        self._fields = fields

    def look(self, offset_s: float) -> float:
        """Return the seconds by which the clock was set since the last look, and log them.

        That is 0.0 for less than LEAST_JUMP_S, so that many small steps are no large one.
        """
        moved_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(moved_s) < LEAST_JUMP_S:
            return 0.0
        log.warning("clock.set", **self._fields, by_s=round(moved_s, 3))
        return moved_s


class StreamClock:
    """A clock with wall and steady time that notices when the wall clock was set.

    When the wall clock has moved on by more than `grace_s` that this process did not see pass, at
    its start or at once, it may be wrong. For `grace_s`, no stream is to be removed as expired.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        running: Callable[[], float],
        grace_s: float = HOUR_S,
        *,
        follows_wall: bool = False,
        route: str = "",
    ) -> None:
        """Make the steady time equal the wall time if it `follows_wall`.

        That is for logs whose deadlines other processes compare with their clocks. `route` is named
        in log lines.
        """
        self.route = route
        self._wall = wall
        self._running = running
        self.grace_s = grace_s
        self._follows_wall = follows_wall
        self._ahead = wall() - running()  # what is added to the running time for steady time
        self._steps = WallClockSteps(self._ahead, route=route)
        self._noted: ClockReading | None = None  # the note, if the wall clock is too far from it
        self._began = 0.0  # (running)
        self._doubted: ClockReading | None = None
        self._doubted_until = 0.0  # (running)

    def __call__(self) -> ClockReading:
        """Return the present."""
        wall = self._wall()
        return ClockReading(wall, wall if self._follows_wall else self._running() + self._ahead)

    def wall(self) -> float:
        """Return the time by the wall clock."""
        return self._wall()

    @property
    def in_doubt_since(self) -> ClockReading | None:
        """The time at which doubt of the wall clock began; None without a doubt."""
        return self._doubted

    def start(self, noted: ClockRecord | None) -> ClockReading:
        """Go on from the note of another process; return the present."""
        wall, self._began = self._wall(), self._running()
        self._steps = WallClockSteps(wall - self._began, route=self.route)
        if noted is None:
            self._ahead = wall - self._began
            return self()
        self._ahead = steady_at_start(noted.moment, wall) - self._began
        now = self()
        if wall - noted.moment.wall > self.grace_s:
            self._noted = noted.moment
            self._doubt(now)
        elif noted.in_doubt:
            self._doubt(now)
        return now

    def look(self) -> ClockReading:
        """Notice that the wall clock was set, or that a doubt is over; return the present."""
        wall, running = self._wall(), self._running()
        moved = self._steps.look(wall - running)
        if self._noted is not None and moved < 0:
            self._go_back(self._noted, wall, running)
        now = ClockReading(wall, wall if self._follows_wall else running + self._ahead)
        if moved > max(self.grace_s, LEAST_JUMP_S):
            self._doubt(now)
        if self._doubted is not None and running >= self._doubted_until:
            self._doubted = self._noted = None
        return now

    def _doubt(self, now: ClockReading) -> None:
        self._doubted = now
        self._doubted_until = self._running() + self.grace_s

    def _go_back(self, noted: ClockReading, wall: float, running: float) -> None:
        """Take back what a stop had counted by a clock that was wrong."""
        here = running - self._began
        steady = max(noted.steady + here, steady_at_start(noted, wall))
        self._ahead = min(self._ahead, steady - running)

    def to_note(self, now: ClockReading) -> ClockRecord | None:
        """Return the note for the next process, as of the last look.

        None while the next process has to see the same doubt: then the last note stays.
        """
        if self._noted is not None:
            return None
        return ClockRecord(now, in_doubt=self._doubted is not None)
