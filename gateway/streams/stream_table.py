"""The streams in use: the latest committed state of each."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.protocol.appends import by_last_use
from gateway.protocol.lifecycle import present
from gateway.protocol.streams.chunks import no_newer_than
from gateway.streams.active_stream import NOBODY, ActiveStream, ActiveStreams
from gateway.streams.commits import Commits
from gateway.streams.deadlines import SharedDeadlines, SoleDeadlines
from gateway.streams.following import LogSubscriptions
from gateway.streams.stream_loader import StreamLoader
from gateway.streams.versions import is_behind, is_rewritten
from gateway.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from gateway.backends.contract import LoadedStream, Log
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import Change, ClockReading, StreamState
    from gateway.streams.active_stream import Caches
    from gateway.streams.stream_clock import StreamClock

# States kept without a reader or writer, about 2 KiB each; with MAX_PRODUCERS 2 MB more.
MAX_ACTIVE = 50_000
MOST_TURNS = 8  # streams looked at to make room for one: more than one goes where many grew


class StreamTable(ActiveStreams):
    """The active streams of one log, the least recently used dropped beyond a bound."""

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
        self.commits = Commits(log, self, caches)
        if log.sharing is not None:
            log.sharing.listen(self.commits)
        kind = SharedDeadlines if self.is_shared else SoleDeadlines
        self.deadlines = kind(self.commits.commit, self.adopt, clock)
        self._streams: OrderedDict[str, ActiveStream] = OrderedDict()  # the first is found at once
        self.following = LogSubscriptions(log, self.deadlines)
        self.loader = StreamLoader(log, self._take, self._forget, self._awaited)
        self.turns = Turns()
        # Each is called with path and id of each stream that another process has removed.
        self.removal_observers: list[Callable[[str, int], None]] = []
        # Each is called with each change, before its client gets an answer.
        self.observers: list[Callable[[Change], None]] = []

    def __len__(self) -> int:
        return len(self._streams)

    @override
    def __iter__(self) -> Iterator[ActiveStream]:
        # In the order of creation. By use, 50,000 take 9 ms: each is looked up by its path.
        return iter(dict.values(self._streams))

    def get(self, path: str) -> ActiveStream:
        """Return the active stream of a path, loaded or not, as the most recently used."""
        active = self._streams.get(path)
        if active is None:
            if len(self._streams) >= self._max_active:
                self._make_room()
            active = self._streams[path] = ActiveStream(path, NOBODY)
        else:
            self._streams.move_to_end(path)
        return active

    @override
    def peek(self, path: str) -> ActiveStream | None:
        return self._streams.get(path)

    def _make_room(self) -> None:
        """Drop the least recently used; one that is in use gets another turn instead.

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
        """Load a stream as it is in the log, whoever changed it; equal loads share a look-up."""
        return self.loader.load(self.get(path))

    def _take(self, active: ActiveStream, loaded: LoadedStream) -> None:
        place = loaded.place
        known, found = active.known, place.state
        if found is not None and is_rewritten(known, found):
            self.caches.changed(found.stream_id, whole=True)
        if known is not None and (found is None or found.stream_id != known.stream_id):
            self.caches.changed(known.stream_id, whole=True)  # also when another program removed it
        active.revision += 1
        active.retired, active.history = place.retired, place.history
        active.producers = by_last_use(loaded.producers) if loaded.producers else {}
        active.state = place.state
        active.absent = place.state is None
        try:
            self.deadlines.loaded(active, known)
            if active.follower is not None:
                if place.state is None:
                    active.follower.ended()
                else:
                    active.follower.published(place.state, ())
            if active.watchers:
                active.notify_watchers(place.state)
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

    def known_part(self, chunk: Chunk) -> Chunk:
        """Return a chunk that was read without the commits that are about to be applied.

        A reader who saw them could come back with an offset that the table does not know.
        """
        active = self._streams.get(chunk.state.path)
        known = None if active is None else active.state
        if known is None or not known.is_along(chunk.state):
            return chunk
        return no_newer_than(chunk, known) if known.version < chunk.state.version else chunk

    @override
    def apply(self, change: Change) -> None:
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
            active.state = None
            active.producers = {}
            if active.follower is not None:
                active.follower.ended()
            active.notify_watchers(None)
        else:
            active.advance(change, self.deadlines.committed)

    @override
    def outdate(self, change: Change) -> None:
        whole = change.removes or change.trims or change.state.soft_deleted
        if self.is_shared and not whole:
            active = self._streams.get(change.state.path)
            whole = is_rewritten(None if active is None else active.known, change.state)
        self.caches.changed(change.state.stream_id, whole=whole)

    @override
    def lose_sight(self, change: Change) -> None:
        self.caches.changed(change.state.stream_id, whole=True)
        self.reload(change.state.path)

    def forget(self, path: str) -> None:
        """Drop the state of a stream that another process changed; its next use loads it."""
        active = self._streams.get(path)
        if active is not None:
            self._forget(active)

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
        elif known is not None and found.place.history < known.history:
            # An old answer, or a server whose clock is behind: it must be asked.
            self._forget(active)
        elif not is_behind(found.place.state, known):
            self._forget(active)
            self._take(active, found)

    @override
    def removed(self, path: str, stream_id: int) -> None:
        self.drop(path, stream_id)
        for notify in self.removal_observers:
            notify(path, stream_id)

    def drop(self, path: str, stream_id: int) -> None:
        """Drop everything known of a stream that was removed, followed or not."""
        self.caches.changed(stream_id, whole=True)
        active = self._streams.get(path)
        if active is not None and active.state is not None and active.state.stream_id == stream_id:
            self.reload(path)

    @override
    def reload(self, path: str) -> None:
        active = self._streams.get(path)
        if active is None:
            return
        self._forget(active)
        if active.needs_news:
            self.loader.reload(path)

    def _awaited(self, path: str) -> ActiveStream | None:
        active = self._streams.get(path)
        is_awaited = active is not None and active.needs_news and active.state is None
        return active if is_awaited else None


async def find_stream(table: StreamTable, path: str) -> StreamState | None:
    """Return the state of a stream that a client may use, or None. Raises LogUnavailable."""
    active = await table.load(path)
    try:
        return table.present(active)
    except HeadgateError:
        return None
