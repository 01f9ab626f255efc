"""The streams in use: their latest committed state, and the one way to commit a change."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.protocol.lifecycle import present, touched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.backends.base import Log
    from gateway.errors import HeadgateError
    from gateway.protocol.appends import Appended
    from gateway.protocol.lifecycle import Place
    from gateway.protocol.requests import Append
    from gateway.protocol.state import Change, ProducerState, StreamState

MAX_HOT = 50_000  # states kept without a reader or writer, about 2 KiB each
MOST_TURNS = 8  # streams looked at to make room for one: more than one goes where many grew
TOUCH_SHARE = 10  # a sliding deadline is written down when it moved by a tenth of its TTL
MOST_SLACK_S = 60.0  # or by a minute: a write a minute costs little, and expiry stays punctual


class Follower(Protocol):
    """Who hears of a stream's commits, in their order, on the event loop."""

    def published(self, change: Change) -> None:
        """The stream moved to `change.state`."""

    def ended(self) -> None:
        """The stream is gone."""

    @property
    def has_readers(self) -> bool:
        """Whether anybody waits for the stream right now."""


class HotStream:
    """One stream in use. `state` is None until loaded; `absent` says that a load found none."""

    __slots__ = (
        "absent",
        "committing",
        "conflicts",
        "epoch",
        "follower",
        "grace_s",
        "loading",
        "path",
        "producers",
        "retired",
        "state",
        "waiting",
        "written_deadline",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.state: StreamState | None = None
        self.absent = False
        self.retired: int | None = None
        self.producers: dict[str, ProducerState] = {}
        self.written_deadline: float | None = None
        self.grace_s = 0.0  # how much later than is written a sliding window may end
        self.epoch = 0  # counts applied changes: tells a load that it was overtaken
        self.loading: asyncio.Task[None] | None = None
        self.waiting: deque[tuple[Append, Callable[[Appended | HeadgateError], None]]] = deque()
        self.committing = False
        self.conflicts = 0
        self.follower: Follower | None = None

    @property
    def idle(self) -> bool:
        """Whether it may be dropped: nobody waits on it."""
        return not (
            self.waiting or self.committing or self.loading is not None or self.follower is not None
        )


class StreamTable:
    """All hot streams of one log, the least recently used dropped beyond a bound."""

    def __init__(
        self,
        log: Log,
        clock: Callable[[], float],
        changed: Callable[[Change], None],
        max_hot: int = MAX_HOT,
    ) -> None:
        self.log = log
        self.clock = clock
        self._changed = changed
        self._max_hot = max_hot
        self._streams: dict[str, HotStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, path: str) -> HotStream:
        """The hot stream of a path, loaded or not; becomes the most recently used."""
        hot = self._streams.pop(path, None)
        if hot is None:
            hot = HotStream(path)
            self._make_room()
        self._streams[path] = hot
        return hot

    def peek(self, path: str) -> HotStream | None:
        """The hot stream of a path if there is one, without making it more recently used."""
        return self._streams.get(path)

    def _make_room(self) -> None:
        """Drop the least recently used; one that is in use gets another turn instead.

        When many in a row are in use the table grows: what is in use has bounds of its own.
        """
        for path in list(itertools.islice(self._streams, MOST_TURNS)):
            if len(self._streams) < self._max_hot:
                return
            hot = self._streams.pop(path)
            if not hot.idle:
                self._streams[path] = hot

    async def load(self, path: str) -> HotStream:
        """The hot stream with its state as committed; equal loads share one look-up."""
        hot = self.get(path)
        hot.absent = False
        while hot.state is None and not hot.absent:
            if hot.loading is None:
                hot.loading = asyncio.get_running_loop().create_task(self._load(hot))
            await asyncio.shield(hot.loading)
        return hot

    async def _load(self, hot: HotStream) -> None:
        try:
            while hot.state is None:
                epoch = hot.epoch
                loaded = await self.log.load(hot.path)
                if hot.epoch == epoch:  # else a commit or a lost race has overtaken it
                    self._take(hot, loaded.place, loaded.producers)
                    return
        finally:
            hot.loading = None

    def _take(self, hot: HotStream, place: Place, producers: dict[str, ProducerState]) -> None:
        hot.retired = place.retired
        hot.producers = producers
        hot.state = place.state
        hot.absent = place.state is None
        hot.written_deadline = None if place.state is None else place.state.deadline
        hot.grace_s = 0.0
        if place.state is not None and place.state.lifetime.ttl_s is not None:
            hot.grace_s = _slack(place.state.lifetime.ttl_s) + 1.0

    def now(self, hot: HotStream) -> float:
        """The time by which the stream's deadline counts; while it is loaded, with its grace."""
        return self.clock() - hot.grace_s

    def present(self, hot: HotStream) -> StreamState:
        """The loaded stream's state as a client may use it; raises when it is gone."""
        if hot.follower is not None and hot.follower.has_readers:
            self.touch(hot)  # a stream with live readers is in use (section 5.1)
        return present(hot.state, self.now(hot))

    def touch(self, hot: HotStream) -> None:
        """Restart the countdown of a sliding window, on disk too when it moved by a tenth."""
        state = hot.state
        if state is None or state.lifetime.ttl_s is None or state.deadline is None:
            return
        deadline = self.clock() + state.lifetime.ttl_s
        if deadline > state.deadline:
            hot.state = msgspec.structs.replace(state, deadline=deadline)
            hot.grace_s = 0.0
        if deadline > (hot.written_deadline or 0.0) + _slack(state.lifetime.ttl_s):
            hot.written_deadline = deadline
            self.write_deadline(hot)

    def write_deadline(self, hot: HotStream) -> None:
        """Make the deadline durable; when that fails, the next use tries again."""

        def written(done: asyncio.Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                hot.written_deadline = None

        if hot.state is not None:
            self.commit(touched(hot.state)).add_done_callback(written)

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Commit to the log; the table, the caches and the followers know before the caller."""
        future = self.log.commit(changes)
        future.add_done_callback(lambda done: self._committed(done, changes))
        return future

    def _committed(self, done: asyncio.Future[None], changes: Sequence[Change]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        for change in changes:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        self._changed(change)
        hot = self._streams.get(change.state.path)
        if hot is None:
            return
        hot.epoch += 1
        if change.removes:
            hot.state = None
            hot.producers = {}
            if hot.follower is not None:
                hot.follower.ended()
            return
        if (
            hot.state is not None or change.expected is None
        ):  # else it is not loaded: the log has it
            self._move(hot, change)
        if hot.follower is not None:
            hot.follower.published(change)

    @staticmethod
    def _move(hot: HotStream, change: Change) -> None:
        known, state = hot.state, change.state
        hot.written_deadline = state.deadline
        if change.expected is None:
            hot.producers = {}
        elif known is not None and (known.deadline or 0.0) > (state.deadline or 0.0):
            # Used again while the change was on its way: a sliding deadline only moves on.
            state = msgspec.structs.replace(state, deadline=known.deadline)
        if known is None or known.deadline != state.deadline:
            hot.grace_s = 0.0
        hot.state = state
        for name in change.forgotten:
            hot.producers.pop(name, None)
        hot.producers.update(change.producers)

    def forget(self, path: str) -> None:
        """Load the stream anew when it is next needed: somebody else moved it."""
        hot = self._streams.get(path)
        if hot is not None:
            hot.epoch += 1
            hot.state = None
            hot.absent = False


def _slack(ttl_s: int) -> float:
    """How far, in seconds, a written deadline may lag."""
    return min(max(1.0, ttl_s / TOUCH_SHARE), MOST_SLACK_S)
