"""The streams in use with the latest committed state of each, and the commits of their changes.

The table knows the changes of this process before their callers do. It learns those of other
processes from the log.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from headgate_gateway.background import Turns
from headgate_gateway.errors import HeadgateError
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.sharing import LogListener
from headgate_gateway.protocol.appends import by_last_use
from headgate_gateway.protocol.lifecycle import present
from headgate_gateway.protocol.streams.chunks import boundary, no_newer_than
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.streams.active_stream import (
    NO_WRITES,
    ActiveStream,
    is_behind,
    is_rewritten,
)
from headgate_gateway.streams.clock import Deadlines
from headgate_gateway.streams.stream_loader import LogSubscriptions, StreamLoader
from headgate_gateway.telemetry.logs import log as logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from headgate_gateway.logs.contract import LoadedStream, Log, Settled
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState
    from headgate_gateway.store import Caches
    from headgate_gateway.streams.clock import StreamClock

    Remover = Literal["here", "elsewhere", "successor"]  # this process, another one, a new stream
    Revision = tuple[ActiveStream | None, int]

# States in memory without a reader or writer, about 2 KiB each; with MAX_PRODUCERS 2 MB more.
MAX_ACTIVE = 50_000
MOST_TURNS = 8  # streams looked at to make room for one: more than one goes where many grew


class StreamTable:
    """The active streams of one log, the least recently used dropped beyond a bound.

    `max_active` is a parameter so that tests reach the bound with a few streams.
    """

    def __init__(
        self,
        log: Log,
        clock: StreamClock,
        caches: Caches,
        max_active: int = MAX_ACTIVE,
    ) -> None:
        self.log = log
        self.clock = clock
        self.caches = caches
        self._max_active = max_active
        self.is_shared = log.sharing is not None
        self.commits = Commits(self)
        if log.sharing is not None:
            log.sharing.listen(self.commits)
        self.deadlines = Deadlines(self.commits.commit, self.adopt, clock, is_shared=self.is_shared)
        self._streams: OrderedDict[str, ActiveStream] = OrderedDict()  # the first is found at once
        self.following = LogSubscriptions(log, self.deadlines)
        self.loader = StreamLoader(log, self._take, self._forget)
        self.turns = Turns()
        self.reads: SingleFlight[Chunk] = SingleFlight()
        # Called with the path and id of a stream that is gone, and with its remover. For
        # `successor` the id is the new stream's: the removal of the old one was reported before.
        self.removal_observers: list[Callable[[str, int, Remover], None]] = []
        # Each is called with each change, before its client gets an answer.
        self.observers: list[Callable[[Change], None]] = []

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[ActiveStream]:
        # In the order of creation. By use, 50,000 take 9 ms: each is looked up by its path.
        return iter(dict.values(self._streams))

    def get(self, path: str) -> ActiveStream:
        """Return the active stream of a path, loaded or not, as the most recently used."""
        active = self._streams.get(path)
        if active is None:
            if len(self._streams) >= self._max_active:
                self._make_room()
            active = self._streams[path] = ActiveStream(path, NO_WRITES)
        else:
            self._streams.move_to_end(path)
        return active

    def peek(self, path: str) -> ActiveStream | None:
        """Return the active stream of a path, or None, without marking it as used."""
        return self._streams.get(path)

    def _make_room(self) -> None:
        """Drop the least recently used; one in use is moved to the end instead.

        When many in a row are in use the table grows: what is in use has bounds of its own.
        """
        for _ in range(MOST_TURNS):
            if len(self._streams) < self._max_active:
                return
            path, active = next(iter(self._streams.items()))
            if active.idle:
                del self._streams[path]
            else:
                self._streams.move_to_end(path)

    def load(self, path: str) -> Coroutine[Any, None, ActiveStream]:
        """Load a stream as it is in the log; equal loads share a look-up."""
        return self.loader.load(self.get(path))

    def _take(self, active: ActiveStream, loaded: LoadedStream) -> None:
        path_state = loaded.path_state
        known, found = active.known, path_state.state
        if found is not None and is_rewritten(known, found):
            self.caches.changed(found.stream_id, whole=True)
        if known is not None and (found is None or found.stream_id != known.stream_id):
            self.caches.changed(known.stream_id, whole=True)  # also when another program removed it
        if known is not None and (found is None or found.stream_id != known.stream_id):
            active.activity = None  # another process has removed it
        active.revision += 1
        active.retired, active.history = path_state.retired, path_state.history
        active.producers = by_last_use(loaded.producers) if loaded.producers else {}
        active.state = path_state.state
        active.absent = path_state.state is None
        try:
            self.deadlines.loaded(active, known)
            if active.follower is not None:
                if path_state.state is None:
                    active.follower.ended()
                else:
                    active.follower.published(path_state.state, ())
            if active.watchers:
                active.notify_watchers(path_state.state)
        except BaseException:
            self._forget(active)  # the change is applied in part
            raise

    def present(self, active: ActiveStream, now: ClockReading | None = None) -> StreamState:
        """Return the loaded stream's state for a client; raises HeadgateError if it is gone.

        A caller that has just read the clock passes its reading.
        """
        state = active.state
        if state is not None and state.deadline is None and not state.soft_deleted:
            return state  # it never ends by itself
        if active.follower is not None and active.follower.has_readers:
            self.deadlines.touch(active)  # a stream with live readers is in use (section 5.1)
        return present(active.state, self.deadlines.now(active, now))

    async def read(self, state: StreamState, start: int) -> Chunk:
        """Return the chunk at `start`, shared by equal reads of one version of the stream.

        It lacks commits that are about to be applied: a reader that saw them could come back
        with an offset that the table does not know.
        """
        key = (state.stream_id, start, state.version, state.history)
        chunk = await self.reads.read(key, partial(self.log.read, state, start, boundary(start)))
        if chunk.state is state:
            return chunk
        active = self._streams.get(state.path)
        known = None if active is None else active.state
        if known is None or not known.is_along(chunk.state):
            return chunk
        return no_newer_than(chunk, known) if known.version < chunk.state.version else chunk

    def is_current(self, chunk: Chunk, *, until_change: bool) -> bool:
        """Return whether a chunk may be cached: `until_change` where an append makes it stale."""
        active, read = self._streams.get(chunk.state.path), chunk.state
        if active is None or active.state is None or active.state.soft_deleted:
            return False  # a deleted stream is only read through its forks
        known = active.state
        if (known.stream_id, known.generation) != (read.stream_id, read.generation):
            return False
        if chunk.start < known.first:
            return False  # trimmed meanwhile: it would send readers to removed data
        return not until_change or known.version == read.version

    def apply(self, change: Change) -> None:
        """Apply a committed change to its active stream, the caches and the followers."""
        for notify in self.observers:
            notify(change)
        state = change.state
        if change.grown and not self.is_shared:
            self.caches.changed(state.stream_id, whole=False)
        else:
            self.outdate(change)
        active = self._streams.get(state.path)
        if active is None:
            return
        active.revision += 1
        if change.removes:
            active.state = active.activity = None
            active.producers = {}
            if active.follower is not None:
                active.follower.ended()
            active.notify_watchers(None)
        else:
            active.advance(change, self.deadlines.committed)

    def outdate(self, change: Change) -> None:
        """Drop the cached responses that a change makes stale."""
        whole = change.removes or change.trims or change.state.soft_deleted
        if self.is_shared and not whole:
            active = self._streams.get(change.state.path)
            whole = is_rewritten(None if active is None else active.known, change.state)
        self.caches.changed(change.state.stream_id, whole=whole)

    def _forget(self, active: ActiveStream) -> None:
        if active.state is not None:
            self.caches.changed(active.state.stream_id, whole=False)
        active.forget()

    def adopt(self, path: str, found: LoadedStream | None) -> None:
        """Adopt the state that another process committed first: `found`, or load it if None.

        The stream of a shared log is followed for a while then: a process that knows of the
        others' changes before it decides loses fewer races.
        """
        active = self._streams.get(path)
        if active is None:
            return
        if self.is_shared and not active.followed:
            self.following.follow(active)
            self.following.unfollow(active)
        known = active.known
        if found is None or active.loading is not None:  # what is being loaded may be newer
            self._forget(active)
        elif known is not None and found.path_state.history < known.history:
            # An old reply, or a server whose clock is behind: the stream must be loaded.
            self._forget(active)
        elif not is_behind(found.path_state.state, known):
            self._forget(active)
            self._take(active, found)

    def drop(self, path: str, stream_id: int) -> None:
        """Drop everything known of a stream that was removed, followed or not."""
        self.caches.changed(stream_id, whole=True)
        active = self._streams.get(path)
        if active is not None and active.state is not None and active.state.stream_id == stream_id:
            self.reload(path)

    def reload(self, path: str) -> None:
        """Drop the state of a stream that may have changed, and load it if it is followed."""
        active = self._streams.get(path)
        if active is None:
            return
        self._forget(active)
        if active.needs_news:
            self.loader.reload(active)


class Commits(LogListener):
    """The commits of one table to its log, and the listener to those of other processes."""

    def __init__(self, table: StreamTable) -> None:
        self._table = table
        # Each is called with each change that this process has committed to a shared log, or may
        # have: then the second argument is False.
        self.observers: list[Callable[[Change, bool], None]] = []
        # Each is called when the log may have lost what it acknowledged.
        self.history_observers: list[Callable[[], None]] = []

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Commit all changes or none; table, caches and followers know before the caller."""
        revisions = self._revisions(changes) if self._table.is_shared else None

        def on_done(done: asyncio.Future[None]) -> None:
            failure = asyncio.CancelledError() if done.cancelled() else done.exception()
            self._settled(changes, revisions, None, 0, [failure] * len(changes))

        try:
            future = self._table.log.commit(changes)
        except BaseException:
            self._lose_sight(changes)
            raise
        future.add_done_callback(on_done)
        return future

    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        """Commit changes of different streams, each by itself; `settled` is called last."""
        revisions = self._revisions(changes) if self._table.is_shared else None
        try:
            on_settled = partial(self._settled, changes, revisions, settled)
            self._table.log.commit_separately(changes, on_settled)
        except BaseException:
            self._lose_sight(changes)
            raise

    def _revisions(self, changes: Sequence[Change]) -> list[Revision]:
        """Return the streams' entries and their revisions, which any news of a stream changes."""
        found = [self._table.peek(change.state.path) for change in changes]
        return [(active, 0 if active is None else active.revision) for active in found]

    def _settled(
        self,
        changes: Sequence[Change],
        revisions: Sequence[Revision] | None,
        settled: Settled | None,
        first: int,
        failures: Sequence[Any],
    ) -> None:
        """Apply the commits that succeeded, and then call `settled`."""
        for number, failure in enumerate(failures, first):
            change = changes[number]
            if failure is not None:
                self._failed(change, failure)
                continue
            try:
                for notify in self.observers:
                    notify(change, True)
                if revisions is None or self._revisions((change,)) == [revisions[number]]:
                    self._table.apply(change)
                else:  # a late reply: news since then may be older or newer
                    self._table.outdate(change)
                    self.on_change(change)
            except Exception:  # noqa: BLE001 - the change is in the log, and can be loaded
                logger.exception("stream.lost_sight_of", path=change.state.path)
                self._lose_sight((change,))
        if settled is not None:
            settled(first, failures)

    def _failed(self, change: Change, failure: BaseException) -> None:
        """Notify the observers of a change that may have been stored, unless it has lost a race."""
        if isinstance(failure, Conflict):
            return
        if not isinstance(failure, HeadgateError):
            self._lose_sight((change,))
        for notify in self.observers:
            notify(change, False)

    def _lose_sight(self, changes: Sequence[Change]) -> None:
        """Drop everything known of the streams of changes that may have been stored in part."""
        for change in changes:
            self._table.caches.changed(change.state.stream_id, whole=True)
            self._table.reload(change.state.path)

    # Of other processes

    @override
    def on_change(self, change: Change) -> None:
        active = self._table.peek(change.state.path)
        if active is None:
            return
        known = active.state
        version = known.version if known is not None and known.is_along(change.state) else -1
        if version >= change.state.version + change.removes:
            return  # it is known already, or a later one
        if version == change.expected:
            self._table.apply(change)
        else:
            self._table.reload(active.path)

    @override
    def on_missed_changes(self, path: str) -> None:
        self._table.reload(path)

    @override
    def on_removal(self, path: str, stream_id: int) -> None:
        self._table.drop(path, stream_id)
        for notify in self._table.removal_observers:
            notify(path, stream_id, "elsewhere")

    @override
    def on_missed_removals(self) -> None:
        """Drop all cached responses: a request for one is answered from the log again."""
        self._table.caches.clear()

    @override
    def on_history_change(self) -> None:
        """Drop all states and cached responses: the log may have lost acknowledged data."""
        self._table.caches.clear()
        for active in list(self._table):
            self._table.reload(active.path)
        for notify in self.history_observers:
            notify()


async def find_stream(table: StreamTable, path: str) -> StreamState | None:
    """Return the state of a stream that a client may use, or None. Raises LogUnavailable."""
    active = await table.load(path)
    try:
        return table.present(active)
    except HeadgateError:
        return None
