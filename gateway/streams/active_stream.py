"""One stream in use, and those who hear of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from gateway.protocol.lifecycle import PathState
from gateway.streams.append_rate import AppendRate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from gateway.protocol.state import Change, ProducerState, Record, StreamState
    from gateway.protocol.trace_context import TraceContext
    from gateway.streams.append_figures import Waiting


class Follower(Protocol):
    """Who hears of a stream's commits, in their order, on the event loop."""

    def traced(self, appends: Sequence[TraceContext]) -> None:
        """The spans of the appends that are published next."""

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """The stream moved to `state`; `records` were appended last, if they are at hand."""

    def ended(self) -> None:
        """The stream is gone."""

    @property
    def has_readers(self) -> bool:
        """Whether anybody waits for the stream right now."""


class Caches(Protocol):
    """What is kept of streams elsewhere."""

    def changed(self, stream_id: int, *, whole: bool) -> None:
        """Forget what is no longer so: what reached the tail, or with `whole` everything."""

    def clear(self) -> None:
        """Forget everything of every stream."""


class ActiveStream:
    """One stream in use. `state` is None until loaded; `absent` says that a load found none."""

    __slots__ = (
        "absent",
        "asked",
        "before",
        "committing",
        "conflicts",
        "followed",
        "follower",
        "grace_s",
        "history",
        "kept_alive",
        "loading",
        "path",
        "producers",
        "rate",
        "retired",
        "revision",
        "state",
        "told",
        "trace_id",
        "unfollowing",
        "waiting",
        "written_deadline",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.state: StreamState | None = None
        self.absent = False
        self.retired: int | None = None
        self.history = 0
        self.producers: dict[str, ProducerState] = {}
        self.written_deadline: float | None = None
        self.grace_s = 0.0  # how much later than is written a sliding window may end
        self.before: StreamState | None = None  # what was known when it was forgotten
        self.asked = 0  # times that the log was asked for it
        self.told = 0  # which of them told what is known now
        self.revision = 0  # counts what was learnt: tells an answer that it was overtaken
        self.loading: asyncio.Future[None] | None = None
        self.waiting: deque[Waiting] = deque()
        self.committing = False
        self.conflicts = 0
        self.rate: AppendRate | None = None  # of appends through this process
        self.trace_id: str | None = None  # of the last of the appends committed last
        self.follower: Follower | None = None
        self.kept_alive = False  # its deadline is written again and again
        self.followed = False  # other processes' changes are told
        self.unfollowing: asyncio.TimerHandle | None = None  # when that is to end

    @property
    def place(self) -> PathState:
        """What stands at the path."""
        return PathState(self.state, self.retired, self.history)

    @property
    def known(self) -> StreamState | None:
        """The latest state that was known; it may have been overtaken when `state` is None."""
        return self.before if self.state is None else self.state

    @property
    def idle(self) -> bool:
        """Whether it may be dropped: nobody waits on it."""
        return not (
            self.waiting
            or self.committing
            or self.loading is not None
            or self.follower is not None
            or self.followed
        )

    def count(self, appends: int, now: float) -> None:
        """Appends that were stored at `now` (perf_counter)."""
        if self.rate is None:
            self.rate = AppendRate()
        self.rate.count(appends, now)

    def forget(self) -> None:
        """Know of the stream no more than that it was known."""
        if self.state is not None:
            self.before = self.state
        self.revision += 1
        self.state = None
        self.absent = False

    def move(self, change: Change, state: StreamState) -> None:
        """Take over what was committed; `state` is what its state is here."""
        if change.expected is None:
            self.producers = {}
        self.state = state
        self.absent = False
        for name in change.forgotten:
            self.producers.pop(name, None)
        self.producers.update(change.producers)
