"""A log in memory that several processes write to, each by a view of its own."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING

from headgate_gateway.logs.contract import Conflict, LoadedStream
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sharing import Sharing
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.chunks import Chunk
from headgate_gateway.protocol.streams.state import raised
from tests.support.gated_log import GatedLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.sharing import LogListener
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState


class Server:
    """What all views have in common."""

    def __init__(self) -> None:
        self.history = 1_700_000_000_000_000
        self.log = MemoryLog()


class SharedLog(GatedLog, Sharing):
    """One process' view; the test notifies `listener` of what others do, or does not.

    Unless it `tells`, a conflict says nothing of what stands; when it is `apart` no commit takes
    changes of two streams. With each of `forgets_answers` a commit is carried out and yet fails.
    The next questions fail with `outages`, the next reads with `damages`.
    """

    repeats_wait = False

    def __init__(self, beside: SharedLog | None = None) -> None:
        super().__init__()
        self.sharing: Sharing = self
        self.documents = None  # type: ignore[assignment] # subscriptions need a real one
        self.server: Server = Server() if beside is None else beside.server
        store = self.server.log
        self._states, self._records = store._states, store._records
        self._retired, self._ids = store._retired, store._ids
        self.listing = store.listing
        self.confirms = asyncio.Event()  # a gate, as those of loads, reads and commits
        self.confirms.set()
        self.confirmed = 0
        self.tells = True
        self.apart = False
        self.forgets_answers: list[Exception] = []
        self.outages: list[Exception] = []
        self.damages: list[Exception] = []
        self.listener: LogListener | None = None
        self.followed: list[str] = []  # "+path" and "-path", in their order

    def listen(self, listener: LogListener) -> None:
        self.listener = listener

    @property
    def news(self) -> LogListener:
        """Whom to tell what others do."""
        assert self.listener is not None, "nobody listens"
        return self.listener

    async def load(self, path: str) -> LoadedStream:
        self.loaded += 1
        self._fail()
        found = self._found(path)
        await self.loads.wait()
        return found

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        if self.damages:
            raise self.damages.pop(0)
        found = await super().read(state, start, end)
        return Chunk(
            raised(found.state, self.server.history), found.start, found.end, found.records
        )

    def put_back(self, state: StreamState) -> None:
        """Lose what came after a state, as a server does that comes back with older data."""
        self._states[state.path] = state
        records = self._records[state.stream_id]
        kept = bisect_right(records.ends, state.tail)
        del records.ends[kept:], records.datas[kept:]
        self.server.history += 10**15

    def _fail(self) -> None:
        if self.outages:
            raise self.outages.pop(0)

    def _found(self, path: str) -> LoadedStream:
        stands = self._states.get(path)
        producers = {} if stands is None else dict(self._records[stands.stream_id].producers)
        state = None if stands is None else raised(stands, self.server.history)
        return LoadedStream(
            PathState(state, self._retired.get(path), self.server.history), producers
        )

    async def is_current(self, state: StreamState) -> bool:
        self.confirmed += 1
        self._fail()
        found = self._states.get(state.path)
        stands = found is not None and (
            (found.stream_id, found.version, self.server.history)
            == (state.stream_id, state.version, state.history)
        )
        await self.confirms.wait()
        return stands

    def follow(self, path: str) -> None:
        self.followed.append(f"+{path}")

    def unfollow(self, path: str) -> None:
        self.followed.append(f"-{path}")

    def can_commit_together(self, changes: Sequence[Change]) -> bool:
        return not self.apart or len({change.state.path for change in changes}) < 2

    def _is_expected(self, change: Change) -> bool:
        stands = self._states.get(change.state.path)
        if change.state.history != self.server.history:
            return False
        if stands is None or change.expected is None:
            return stands is None and change.expected is None
        found = (stands.stream_id, stands.version)
        return found == (change.state.stream_id, change.expected)

    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        """Paths of streams whose time, or that of a part of them, is over."""
        due = {path: [state.deadline, state.trim_at] for path, state in self._states.items()}
        late = [path for path, times in due.items() if any(at and at <= now.wall for at in times)]
        return late[:limit]

    async def removal_time(self, now: ClockReading) -> ClockReading:
        return now

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        if not all(map(self._is_expected, changes)):
            stands = self._found(changes[0].state.path) if self.tells else None
            self.failures.insert(0, Conflict(stands))
        elif self.forgets_answers:
            MemoryLog.commit(self, changes)
            self.failures.insert(0, self.forgets_answers.pop(0))
        return super().commit(changes)
