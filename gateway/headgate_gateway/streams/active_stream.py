"""A stream in use: its latest known state, its waiting writes, and its observers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.state import ProducerState, StreamState
from headgate_gateway.streams.follower import StreamFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.protocol.streams.state import Change, Record
    from headgate_gateway.streams.follower import HostedFeed

MINUTE_S, HOUR_S = 60.0, 3600.0


# Called with the new state of a stream, None once it is gone, and with the records appended last
# if these are known.
Watcher: TypeAlias = "Callable[[StreamState | None, Sequence[Record]], None]"


class AppendActivity(msgspec.Struct, gc=False, eq=False):
    """The appends to a stream through this process, by a few counts and no timer.

    The appends of the minute before, and the bytes of the hour before, are taken to be evenly
    spread. The counts are lost when their stream is removed, or dropped from memory.
    """

    last_at: float = 0.0  # perf_counter
    _minute: int = 0
    _before: int = 0
    _now: int = 0
    _hour: int = 0
    _bytes_before: int = 0
    _bytes: int = 0  # of this hour

    def count(self, appends: int, size: int, now: float) -> None:
        """Count appends of `size` bytes in all that were stored at `now` (perf_counter)."""
        minute = int(now // MINUTE_S)
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else 0
            self._now = 0
            self._minute = minute
            hour = int(now // HOUR_S)
            if hour != self._hour:
                self._bytes_before = self._bytes if hour == self._hour + 1 else 0
                self._bytes = 0
                self._hour = hour
        self._now += appends
        self._bytes += size
        self.last_at = now

    def growth(self, now: float) -> float:
        """Return the bytes that were appended in the hour up to `now` (perf_counter)."""
        return _recent(self._hour, self._bytes_before, self._bytes, HOUR_S, now)

    def per_second(self, now: float) -> float:
        """Return the appends per second in the minute up to `now` (perf_counter)."""
        return _recent(self._minute, self._before, self._now, MINUTE_S, now) / MINUTE_S


def _recent(period: int, before: int, count: int, period_s: float, now: float) -> float:
    """Return the part of two counts, of `period` and the one before, that is a period old."""
    present, passed = divmod(now, period_s)
    if present == period:
        return count + before * (1 - passed / period_s)
    return count * (1 - passed / period_s) if present == period + 1 else 0.0


# The empty queue, shared by all streams in which no write waits: it saves an object for each.
NO_WRITES: list[Any] = []


class ActiveStream(msgspec.Struct, gc=False, eq=False):
    """A stream in use. `state` is None until loaded; `absent` says that a load found none.

    The garbage collector skips it: a walk over 50,000 of them stopped the process for 0.1 s. Its
    only cycle is with its follower, which is removed before the stream is dropped.
    """

    path: str
    waiting: list[Any]  # writes (`outcomes.Waiting`) in their order
    creations: int = 0  # of the waiting writes
    confirmed: int = 0  # of the waiting writes: the first, queued before the state was loaded
    state: StreamState | None = None
    absent: bool = False
    retired: int | None = None
    history: int = 0
    producers: dict[str, ProducerState] = {}
    written_deadline: float | None = None
    grace_s: float = 0.0  # seconds by which a sliding window may end after its written deadline
    before: StreamState | None = None  # the last known state, after `forget`
    last_lookup: int = 0  # number of look-ups in the log
    answered_lookup: int = 0  # number of the look-up that gave the present state
    revision: int = 0  # counts news of the stream: shows that a reply was overtaken
    loading: asyncio.Future[None] | None = None
    committing: bool = False
    conflicts: int = 0
    activity: AppendActivity | None = None  # None before the first append through this process
    follower: StreamFollower | None = None
    watchers: tuple[Watcher, ...] = ()  # parts of this process that need the stream's news
    renews_deadline: bool = False  # its deadline is written again and again
    followed: bool = False  # other processes' changes are notified
    unfollowing: asyncio.TimerHandle | None = None  # the timer that ends `followed`

    def pop_waiting(self, count: int) -> list[Any]:
        """Remove the first `count` waiting writes, and return them."""
        first, rest = self.waiting[:count], self.waiting[count:]
        self.waiting = rest or NO_WRITES
        self.confirmed = max(0, self.confirmed - count)
        if self.creations:
            self.creations = sum(one.is_creation for one in rest)
        return first

    @property
    def path_state(self) -> PathState:
        """The state of the stream's path."""
        return PathState(self.state, self.retired, self.history)

    @property
    def known(self) -> StreamState | None:
        """The latest state that was known; it may have been overtaken when `state` is None."""
        return self.before if self.state is None else self.state

    @property
    def feeds(self) -> list[HostedFeed]:
        """The feeds of the stream's live readers in this process."""
        return [] if self.follower is None else list(self.follower.feeds.values())

    @property
    def idle(self) -> bool:
        """True if the stream may be dropped from memory: nothing waits on it."""
        return not (
            self.waiting
            or self.committing
            or self.loading is not None
            or self.needs_news
            or self.followed
        )

    @property
    def needs_news(self) -> bool:
        """True while readers or other parts of this process wait for the stream's changes."""
        return self.follower is not None or bool(self.watchers)

    def notify_watchers(self, state: StreamState | None, records: Sequence[Record] = ()) -> None:
        """Notify the watchers of the stream's new state, None if it is gone."""
        for watcher in self.watchers:
            watcher(state, records)

    def forget(self) -> None:
        """Drop the state, so that the next use loads it; the last known state stays in `before`."""
        if self.state is not None:
            self.before = self.state
        self.revision += 1
        self.state = None
        self.absent = False

    def advance(
        self, change: Change, settled: Callable[[ActiveStream, StreamState], StreamState]
    ) -> None:
        """Apply a committed change that does not remove the stream, and notify its observers.

        `settled` returns the committed state with the deadline that counts.
        """
        state, known = change.state, self.state
        if known is not None and change.grown and known.deadline is None is state.deadline:
            self.state = state
            if change.producers:
                self._note_use(change.producers)
        elif known is not None or change.expected is None:  # else it is not loaded: the log has it
            self._move(change, settled(self, state))
        if self.follower is not None:
            self.follower.published(state, change.records)
        if self.watchers:
            self.notify_watchers(state, change.records)

    def _move(self, change: Change, state: StreamState) -> None:
        if change.expected is None:
            self.producers = {}
            self.activity = None  # of a stream before at this path
        self.state = state
        self.absent = False
        for name in change.forgotten:
            self.producers.pop(name, None)
        if change.producers:
            self._note_use(change.producers)

    def _note_use(self, producers: Sequence[tuple[str, ProducerState]]) -> None:
        """Store producers' new states, the last used ones at the end."""
        for name, state in producers:
            self.producers.pop(name, None)
            self.producers[name] = state


# Comparisons of a state that arrives with the state that is known.


def have_same_beginning(one: StreamState, other: StreamState) -> bool:
    """Return whether both begin at the same offset of one history."""
    mine, its = ((it.stream_id, it.history, it.first) for it in (one, other))
    return mine == its


def is_behind(received: StreamState | None, known: StreamState | None) -> bool:
    """Return whether the state that arrived, or a later one, is known already."""
    return (
        received is not None
        and known is not None
        and received.stream_id == known.stream_id
        and (received.history, received.version) <= (known.history, known.version)
    )


def is_rewritten(known: StreamState | None, state: StreamState) -> bool:
    """Return whether more than the tail differs from the known state."""
    if known is None or known.stream_id != state.stream_id:
        return bool(state.past_generations or state.first)  # the best evidence in a state alone
    return (known.generation, known.first) != (state.generation, state.first)
