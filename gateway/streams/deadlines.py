"""Sliding deadlines: each use of a stream with a TTL moves its own on, and few are written."""

from __future__ import annotations

import abc
import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.backends.contract import Conflict
from gateway.protocol.lifecycle import touched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.backends.contract import Loaded
    from gateway.protocol.state import Change, StreamState
    from gateway.streams.active_stream import ActiveStream

TOUCH_SHARE = 10  # where one process serves, it is written when it moved by a tenth of the TTL
MOST_SLACK_S = 60.0  # or by a minute: a write a minute costs little, and expiry stays punctual
# Where other processes go by what is written, it is written further than needed by a hundredth of
# the TTL: so much later a stream may end, and so seldom it is written.
MARGIN_SHARE = 100
LEAST_MARGIN_S, MOST_MARGIN_S = 0.05, 1.0
ALIVE_SHARE = 0.3  # of the TTL, until it is written again for those who wait for news
UNKNOWN_TTL_S = 1  # the shortest: while a stream is being loaded anew


class Commits(Protocol):
    """Where a moved deadline is written."""

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Make the changes durable; fails with Conflict when somebody else was first."""

    def lost(self, path: str, stands: Loaded | None) -> None:
        """A commit met another's."""


class Deadlines(abc.ABC):
    """The deadlines of one log's streams, as unix times."""

    def __init__(self, table: Commits, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock

    def now(self, hot: ActiveStream) -> float:
        """The time by which the stream's deadline counts; while it is loaded, with its grace."""
        return self._clock() - hot.grace_s

    def touch(self, hot: ActiveStream) -> None:
        """Restart the countdown of a sliding window (section 5.1)."""
        state = hot.state
        if state is not None and state.lifetime.ttl_s is not None and state.deadline is not None:
            self._move(hot, state, self._clock() + state.lifetime.ttl_s, state.lifetime.ttl_s)

    @abc.abstractmethod
    def _move(self, hot: ActiveStream, state: StreamState, deadline: float, ttl_s: int) -> None:
        """Let the stream end at `deadline` if that is later, and write it when it must be."""

    def loaded(self, hot: ActiveStream) -> None:
        """The stream stands as it is written."""
        hot.written_deadline = None if hot.state is None else hot.state.deadline
        hot.grace_s = 0.0

    def committed(self, hot: ActiveStream, state: StreamState) -> StreamState:
        """What a committed state is here, where the stream may have been used meanwhile."""
        hot.written_deadline = state.deadline
        if hot.state is None or hot.state.deadline != state.deadline:
            hot.grace_s = 0.0
        return state

    def keep_alive(self, hot: ActiveStream) -> None:
        """A stream with live readers is in use, which other processes cannot see."""
        if not hot.kept_alive:
            self._keep_alive(hot)

    def _keep_alive(self, hot: ActiveStream) -> None:
        ttl_s = hot.state.lifetime.ttl_s if hot.state is not None else UNKNOWN_TTL_S
        hot.kept_alive = hot.follower is not None and ttl_s is not None
        if hot.kept_alive and ttl_s is not None:
            self.touch(hot)
            asyncio.get_running_loop().call_later(ttl_s * ALIVE_SHARE, self._keep_alive, hot)

    def _write(self, hot: ActiveStream, state: StreamState) -> None:
        """Make the deadline durable; when that fails, the next use tries again."""
        hot.written_deadline = state.deadline

        def written(done: asyncio.Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or error is not None:
                hot.written_deadline = None
            if isinstance(error, Conflict):
                self._table.lost(hot.path, error.stands)

        self._table.commit(touched(state)).add_done_callback(written)


class SoleDeadlines(Deadlines):
    """One process serves the log: it knows of every use, and what is written may lag behind."""

    def _move(self, hot: ActiveStream, state: StreamState, deadline: float, ttl_s: int) -> None:
        if state.deadline is None or deadline > state.deadline:
            state = hot.state = msgspec.structs.replace(state, deadline=deadline)
            hot.grace_s = 0.0
        if deadline > (hot.written_deadline or 0.0) + _slack(ttl_s):
            self._write(hot, state)

    def loaded(self, hot: ActiveStream) -> None:
        """The last use may have been later than is written."""
        super().loaded(hot)
        if hot.state is not None and hot.state.lifetime.ttl_s is not None:
            hot.grace_s = _slack(hot.state.lifetime.ttl_s) + 1.0

    def committed(self, hot: ActiveStream, state: StreamState) -> StreamState:
        """Used again while the change was on its way: a sliding deadline only moves on."""
        known = hot.state
        if (
            known is not None
            and known.stream_id == state.stream_id
            and (known.deadline or 0.0) > (state.deadline or 0.0)
        ):
            hot.written_deadline = state.deadline
            return msgspec.structs.replace(state, deadline=known.deadline)
        return super().committed(hot, state)


class SharedDeadlines(Deadlines):
    """Every process goes by what is written, which is therefore a little further than needed."""

    def _move(self, hot: ActiveStream, state: StreamState, deadline: float, ttl_s: int) -> None:
        if deadline > max(state.deadline or 0.0, hot.written_deadline or 0.0):
            deadline += min(max(LEAST_MARGIN_S, ttl_s / MARGIN_SHARE), MOST_MARGIN_S)
            self._write(hot, msgspec.structs.replace(state, deadline=deadline))


def _slack(ttl_s: int) -> float:
    """How far, in seconds, a written deadline may lag."""
    return min(max(1.0, ttl_s / TOUCH_SHARE), MOST_SLACK_S)
