"""The clock of one log's streams with doubt of the wall clock, and the deadlines of streams.

Each use of a stream with a TTL moves its sliding deadline on, and few of these moves are written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.lifecycle import touched
from headgate_gateway.protocol.streams.state import ClockReading, ClockRecord, steady_at_start
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.contract import LoadedStream
    from headgate_gateway.protocol.streams.state import Change, StreamState
    from headgate_gateway.streams.active_stream import ActiveStream

HOUR_S = 3600.0
# The wall clock was set when it moved by so much. NTP sets it for an eighth of a second, and slews
# both clocks for less; deadlines are whole seconds away.
LEAST_JUMP_S = 1.0

TOUCH_SHARE = 10  # with one process, a deadline is written when it moved by a tenth of the TTL
MOST_SLACK_S = 60.0  # or by a minute: a write a minute costs little, and expiry stays punctual
# If other processes use the written deadline, it is written later than needed by a hundredth of the
# TTL: a stream may end so much later, and the deadline is written so seldom.
MARGIN_SHARE = 100
LEAST_MARGIN_S, MOST_MARGIN_S = 0.05, 1.0
ALIVE_SHARE = 0.3  # of the TTL, until it is written again for waiting readers
UNKNOWN_TTL_S = 1  # the shortest, used while a stream is being loaded anew


class WallClockSteps:
    """The steps by which the wall clock is set, as each look sees them.

    An offset is the time of the wall clock less that of a clock that is never set, in seconds.
    """

    def __init__(self, offset_s: float) -> None:
        """Begin at an offset."""
        self._offset_s = offset_s

    def look(self, offset_s: float) -> float:
        """Return the seconds by which the clock was set since the last look.

        That is 0.0 for less than LEAST_JUMP_S, so that small steps do not add up to a large one.
        """
        moved_s, self._offset_s = offset_s - self._offset_s, offset_s
        return 0.0 if abs(moved_s) < LEAST_JUMP_S else moved_s


class StreamClock:
    """A clock with wall and steady time that notices when the wall clock was set.

    When the wall clock has moved on by more than `grace_s` that this process did not see pass, at
    its start or at once, it may be wrong. For `grace_s`, no stream is to be removed as expired.
    `wall` returns the time by the wall clock; `in_doubt_since` is when doubt of it began, or None.
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
        self.wall = wall
        self._running = running
        self.grace_s = grace_s
        self._follows_wall = follows_wall
        self._ahead = wall() - running()  # what is added to the running time for steady time
        self._steps = WallClockSteps(self._ahead)
        self._noted: ClockReading | None = None  # the note, if the wall clock is too far from it
        self._began = 0.0  # (running)
        self.in_doubt_since: ClockReading | None = None
        self._doubted_until = 0.0  # (running)

    def __call__(self) -> ClockReading:
        """Return the present."""
        wall = self.wall()
        return ClockReading(wall, wall if self._follows_wall else self._running() + self._ahead)

    def start(self, noted: ClockRecord | None) -> ClockReading:
        """Go on from the note of another process; return the present."""
        wall, self._began = self.wall(), self._running()
        self._steps = WallClockSteps(wall - self._began)
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
        wall, running = self.wall(), self._running()
        moved = self._steps.look(wall - running)
        if moved:
            log.warning("log.clock_set", route=self.route, by_s=round(moved, 3))
        if self._noted is not None and moved < 0:
            self._go_back(self._noted, wall, running)
        now = ClockReading(wall, wall if self._follows_wall else running + self._ahead)
        if moved > max(self.grace_s, LEAST_JUMP_S):
            self._doubt(now)
        if self.in_doubt_since is not None and running >= self._doubted_until:
            self.in_doubt_since = self._noted = None
        return now

    def _doubt(self, now: ClockReading) -> None:
        self.in_doubt_since = now
        self._doubted_until = self._running() + self.grace_s

    def _go_back(self, noted: ClockReading, wall: float, running: float) -> None:
        """Undo the time of a stop that was counted by a wrong clock."""
        here = running - self._began
        steady = max(noted.steady + here, steady_at_start(noted, wall))
        self._ahead = min(self._ahead, steady - running)

    def to_note(self, now: ClockReading) -> ClockRecord | None:
        """Return the note for the next process, as of the last look.

        None while the next process has to see the same doubt: then the last note stays.
        """
        if self._noted is not None:
            return None
        return ClockRecord(now, in_doubt=self.in_doubt_since is not None)


class Deadlines:
    """The deadlines of one log's streams, as epoch seconds of the clock that each counts by.

    If one process serves the log, it knows every use, and writes few. Deadlines of a log that
    several processes serve are written with a margin for the others.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Change]], asyncio.Future[None]],
        adopt: Callable[[str, LoadedStream | None], None],
        clock: Callable[[], ClockReading],
        *,
        is_shared: bool,
    ) -> None:
        """`commit` makes a moved deadline durable; `adopt` takes the state after a conflict."""
        self._commit = commit
        self._adopt = adopt
        self._clock = clock
        self._is_shared = is_shared
        # Each is called with the path of a stream whose deadline has moved on and is written.
        self.observers: list[Callable[[str], None]] = []

    def now(self, active: ActiveStream, reading: ClockReading | None = None) -> ClockReading:
        """Return the time by which the stream's deadline counts, less its grace."""
        now = reading or self._clock()
        if active.grace_s:
            return now._replace(steady=now.steady - active.grace_s)
        return now

    def touch(self, active: ActiveStream) -> None:
        """Restart the countdown of a sliding window (section 5.1), and write it when it must be."""
        state = active.state
        if state is None or state.lifetime.ttl_s is None or state.deadline is None:
            return
        ttl_s = state.lifetime.ttl_s
        deadline = self._clock().steady + ttl_s
        if self._is_shared:
            if deadline > max(state.deadline, active.written_deadline or 0.0):
                deadline += min(max(LEAST_MARGIN_S, ttl_s / MARGIN_SHARE), MOST_MARGIN_S)
                self._write(active, msgspec.structs.replace(state, deadline=deadline))
            return
        if deadline > state.deadline:
            state = active.state = msgspec.structs.replace(state, deadline=deadline)
            active.grace_s = 0.0
        if deadline > (active.written_deadline or 0.0) + _slack(ttl_s):
            self._write(active, state)

    def loaded(self, active: ActiveStream, known: StreamState | None) -> None:
        """Take the deadline that the log has; `known` is the state before, if there was one.

        In a log of one process, the later of the two counts, with grace for a use that was not
        written. This process has seen every use since it first loaded the stream: a second load
        adds no grace, else a stream that was a 404 would exist again.
        """
        state, grace_s = active.state, active.grace_s
        active.written_deadline = None if state is None else state.deadline
        active.grace_s = 0.0
        if self._is_shared or state is None or state.lifetime.ttl_s is None:
            return
        if known is None or not _has_same_countdown(known, state):
            active.grace_s = _slack(state.lifetime.ttl_s) + 1.0
            return
        active.grace_s = grace_s
        if (known.deadline or 0.0) > (state.deadline or 0.0):
            active.state = msgspec.structs.replace(state, deadline=known.deadline)

    def committed(self, active: ActiveStream, state: StreamState) -> StreamState:
        """Return a committed state with the deadline that counts.

        In a log of one process a use may have moved it on meanwhile.
        """
        active.written_deadline = state.deadline
        known = active.state
        if known is None or self._is_shared or (known.deadline or 0.0) <= (state.deadline or 0.0):
            is_moved = False
        else:
            is_moved = _has_same_countdown(known, state)
        if known is not None and is_moved:
            return msgspec.structs.replace(state, deadline=known.deadline)
        if known is None or known.deadline != state.deadline:
            active.grace_s = 0.0
        return state

    def keep_alive(self, active: ActiveStream) -> None:
        """Touch a stream with live readers again and again, for processes that do not see them."""
        if not active.renews_deadline:
            self._keep_alive(active)

    def _keep_alive(self, active: ActiveStream) -> None:
        ttl_s = active.state.lifetime.ttl_s if active.state is not None else UNKNOWN_TTL_S
        active.renews_deadline = active.follower is not None and ttl_s is not None
        if active.renews_deadline and ttl_s is not None:
            self.touch(active)
            asyncio.get_running_loop().call_later(ttl_s * ALIVE_SHARE, self._keep_alive, active)

    def _write(self, active: ActiveStream, state: StreamState) -> None:
        """Make the deadline durable; when that fails, the next use tries again."""
        active.written_deadline = state.deadline

        def written(done: asyncio.Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or error is not None:
                active.written_deadline = None
            if isinstance(error, Conflict):
                self._adopt(active.path, error.found)

        self._commit(touched(state)).add_done_callback(written)
        for notify in self.observers:
            notify(active.path)


def _has_same_countdown(known: StreamState, state: StreamState) -> bool:
    """Return whether a known deadline counts for a state: an operator may have set another TTL."""
    return known.stream_id == state.stream_id and known.lifetime == state.lifetime


def _slack(ttl_s: int) -> float:
    """Return by how many seconds a written deadline may lag."""
    return min(max(1.0, ttl_s / TOUCH_SHARE), MOST_SLACK_S)
