"""The streams in use: their latest committed state, and the one way to commit a change."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from gateway.backends.contract import Conflict
from gateway.errors import HeadgateError
from gateway.protocol.lifecycle import present
from gateway.streams.active_stream import ActiveStream
from gateway.streams.deadlines import SharedDeadlines, SoleDeadlines
from gateway.streams.following import LogSubscriptions
from gateway.streams.reload_queue import ReloadQueue
from gateway.streams.stream_loader import StreamLoader
from gateway.streams.versions import follows_on, is_behind, is_old, is_rewritten
from gateway.telemetry.logs import log
from gateway.turns import Turns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from gateway.backends.contract import Loaded, Log, Settled
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.streams.active_stream import Caches
    from gateway.streams.stream_clock import StreamClock

    Revision = tuple[ActiveStream | None, int]

MAX_ACTIVE = 50_000  # states kept without a reader or writer, about 2 KiB each
MOST_TURNS = 8  # streams looked at to make room for one: more than one goes where many grew


class StreamTable:
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
        self._caches = caches
        self._max_active = max_active
        log.listen(self)
        self.deadlines = (SharedDeadlines if log.shared else SoleDeadlines)(self, clock)
        self._streams: OrderedDict[str, ActiveStream] = OrderedDict()  # the first is found at once
        self.following = LogSubscriptions(log, self.deadlines)
        self._loader = StreamLoader(log, self._take, self._forget)
        self._reload_queue = ReloadQueue(self._look)
        self.turns = Turns()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[ActiveStream]:
        """Iterate over the active streams, the least recently used first."""
        return iter(self._streams.values())

    def get(self, path: str) -> ActiveStream:
        """Return the active stream of a path, loaded or not, as the most recently used."""
        active = self._streams.get(path)
        if active is None:
            self._make_room()
            active = self._streams[path] = ActiveStream(path)
        else:
            self._streams.move_to_end(path)
        return active

    def peek(self, path: str) -> ActiveStream | None:
        """Return the active stream of a path, or None, without marking it as used."""
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

    async def load(self, path: str) -> ActiveStream:
        """Load a stream as it is in the log, whoever changed it; equal loads share a look-up."""
        return await self._loader.load(self.get(path))

    def begin_load(self, path: str) -> asyncio.Future[ActiveStream] | asyncio.Future[None]:
        """Load a stream that is not loaded, without a task for who waits."""
        return self._loader.begin(self.get(path))

    def _take(self, active: ActiveStream, loaded: Loaded) -> None:
        place = loaded.place
        known, found = active.known, place.state
        if found is not None and is_rewritten(known, found):
            self._caches.changed(found.stream_id, whole=True)
        if known is not None and (found is None or found.stream_id != known.stream_id):
            self._caches.changed(
                known.stream_id, whole=True
            )  # also by other hands than a gateway's
        active.revision += 1
        active.retired, active.history = place.retired, place.history
        active.producers = loaded.producers
        active.state = place.state
        active.absent = place.state is None
        try:
            self.deadlines.loaded(active, known)
            if active.follower is not None:
                if place.state is None:
                    active.follower.ended()
                else:
                    active.follower.published(place.state, ())
        except BaseException:
            self._forget(active)  # it is taken in half
            raise

    def present(self, active: ActiveStream) -> StreamState:
        """Return the loaded stream's state for a client; raises HeadgateError if it is gone."""
        if active.follower is not None and active.follower.has_readers:
            self.deadlines.touch(active)  # a stream with live readers is in use (section 5.1)
        return present(active.state, self.deadlines.now(active))

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Commit to the log; the table, the caches and the followers know before the caller."""
        revisions = [self._revision(change) for change in changes]
        try:
            future = self.log.commit(changes)
        except BaseException:  # who knows how far it came
            for change in changes:
                self._lose_sight(change)
            raise
        future.add_done_callback(partial(self._committed, changes, revisions))
        return future

    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        """Commit changes of different streams, each by itself; `settled` hears of it last."""
        shared = self.log.shared
        revisions = [self._revision(change) for change in changes] if shared else None
        try:
            self.log.commit_apart(changes, partial(self._settled, changes, revisions, settled))
        except BaseException:  # who knows how far it came
            for change in changes:
                self._lose_sight(change)
            raise

    def _settled(
        self,
        changes: Sequence[Change],
        revisions: Sequence[Revision] | None,
        settled: Settled,
        first: int,
        failures: Sequence[Exception | None],
    ) -> None:
        for number, failure in enumerate(failures, first):
            if failure is None:
                self._stands(changes[number], None if revisions is None else revisions[number])
            elif not isinstance(failure, Conflict | HeadgateError):
                self._lose_sight(changes[number])
        settled(first, failures)

    def _revision(self, change: Change) -> Revision:
        """Return the stream's entry and its revision, which any news of the stream changes."""
        active = self._streams.get(change.state.path)
        return active, 0 if active is None else active.revision

    def _committed(
        self,
        changes: Sequence[Change],
        revisions: Sequence[Revision],
        done: asyncio.Future[None],
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        for change, revision in zip(changes, revisions, strict=True):
            self._stands(change, revision)

    def _stands(self, change: Change, revision: Revision | None) -> None:
        """Take a committed change in; `revision` is from when it was sent to a shared log."""
        try:
            if revision is None:
                self._apply(change)
            else:
                self._take_in(change, revision)
        except Exception:  # noqa: BLE001 - it stands in the log, where all is to be had anew
            log.exception("stream.lost_sight_of", path=change.state.path)
            self._lose_sight(change)

    def _take_in(self, change: Change, revision: Revision) -> None:
        if revision == self._revision(change) or not self.log.shared:
            self._apply(change)
        else:  # an answer may come late: what was heard meanwhile may be older or newer
            whole = change.removes or change.state.soft_deleted
            self._caches.changed(change.state.stream_id, whole=whole)
            self.heard(change)

    def _lose_sight(self, change: Change) -> None:
        """Know nothing of a stream any more, so that all is asked of the log."""
        self._caches.changed(change.state.stream_id, whole=True)
        self.missed(change.state.path)

    def _apply(self, change: Change) -> None:
        active = self._streams.get(change.state.path)
        whole = change.removes or change.state.soft_deleted
        if self.log.shared:
            whole = whole or is_rewritten(None if active is None else active.known, change.state)
        self._caches.changed(change.state.stream_id, whole=whole)
        if active is None:
            return
        active.revision += 1
        if change.removes:
            active.state = None
            active.producers = {}
            if active.follower is not None:
                active.follower.ended()
            return
        # Else it is not loaded: the log has it.
        if active.state is not None or change.expected is None:
            active.move(change, self.deadlines.committed(active, change.state))
        if active.follower is not None:
            if change.traced:
                active.follower.traced(change.traced)
            active.follower.published(change.state, change.records)

    def forget(self, path: str) -> None:
        """Load the stream anew when it is next needed: somebody else moved it."""
        active = self._streams.get(path)
        if active is not None:
            self._forget(active)

    def _forget(self, active: ActiveStream) -> None:
        if active.state is not None:
            self._caches.changed(active.state.stream_id, whole=False)
        active.forget()

    def lost(self, path: str, found: Loaded | None) -> None:
        """Take the state that another process committed first: `found`, or load it if None.

        Where others write, their changes are listened to for a while: who knows of them before it
        decides loses fewer races.
        """
        active = self._streams.get(path)
        if active is None:
            return
        if self.log.shared and not active.followed:
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

    # Of what other processes do

    def hears_of(self, active: ActiveStream) -> bool:
        """Return whether this table will be notified of every change of the stream."""
        return not self.log.shared or (active.followed and self.log.why_unhealthy() is None)

    def heard(self, change: Change) -> None:
        """Apply the change of a followed stream by another process."""
        active = self._streams.get(change.state.path)
        if active is None or is_old(active.state, change):
            return
        if follows_on(active.state, change):
            active.trace_id = None
            self._apply(change)
        else:
            self.missed(active.path)

    def gone(self, path: str, stream_id: int) -> None:
        """Drop what is known of a stream that was removed, followed or not."""
        self._caches.changed(stream_id, whole=True)
        active = self._streams.get(path)
        if active is not None and active.state is not None and active.state.stream_id == stream_id:
            self.missed(path)

    def missed(self, path: str) -> None:
        """Drop the state of a stream that may have changed; load it for those who follow it."""
        active = self._streams.get(path)
        if active is None:
            return
        self._forget(active)
        if active.follower is not None:
            self._reload_queue.add(path)

    async def _look(self, path: str) -> None:
        active = self._streams.get(path)
        if active is not None and active.follower is not None and active.state is None:
            await self.load(path)

    def removals_missed(self) -> None:
        """Any stream may be gone: what is kept of it is not given out unasked."""
        self._caches.clear()

    def history_changed(self) -> None:
        """Drop all states and cached responses: the log may have lost acknowledged data."""
        self._caches.clear()
        for active in list(self._streams.values()):
            self.missed(active.path)
