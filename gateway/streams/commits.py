"""Changes of a log's streams: the table knows those of this process before who commits them.

Those of other processes it learns from the log.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Conflict, LogListener
from gateway.errors import HeadgateError
from gateway.streams.versions import follows_on, is_old
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.backends.contract import Log, Settled
    from gateway.protocol.streams.state import Change
    from gateway.streams.active_stream import ActiveStream, ActiveStreams, Caches

    Revision = tuple[ActiveStream | None, int]


class Commits(LogListener):
    """The commits of one table to its log, and the listener to those of other processes."""

    def __init__(self, log: Log, streams: ActiveStreams, caches: Caches) -> None:
        self._log = log
        self._streams = streams
        self._caches = caches
        self._is_shared = log.sharing is not None
        # Each is called with each change that this process has committed to a shared log, or may
        # have: then the second argument is False.
        self.observers: list[Callable[[Change, bool], None]] = []
        # Each is called when the log may have lost what it acknowledged.
        self.history_observers: list[Callable[[], None]] = []

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Commit all changes or none; table, caches and followers know before the caller."""
        revisions = [self._revision(change) for change in changes]
        try:
            future = self._log.commit(changes)
        except BaseException:  # it may have been stored in part
            for change in changes:
                self._streams.lose_sight(change)
            raise
        future.add_done_callback(partial(self._committed, changes, revisions))
        return future

    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        """Commit changes of different streams, each by itself; `settled` is called last."""
        revisions = [self._revision(change) for change in changes] if self._is_shared else None
        try:
            self._log.commit_apart(changes, partial(self._settled, changes, revisions, settled))
        except BaseException:  # it may have been stored in part
            for change in changes:
                self._streams.lose_sight(change)
            raise

    def _revision(self, change: Change) -> Revision:
        """Return the stream's entry and its revision, which any news of the stream changes."""
        active = self._streams.peek(change.state.path)
        return active, 0 if active is None else active.revision

    def _settled(
        self,
        changes: Sequence[Change],
        revisions: Sequence[Revision] | None,
        settled: Settled,
        first: int,
        failures: Sequence[Exception | None],
    ) -> None:
        is_seen = self._is_shared or self.observers
        for number, failure in enumerate(failures, first):
            change = changes[number]
            if failure is not None:
                self._failed(change, failure)
            elif is_seen:
                self._stands(change, None if revisions is None else revisions[number])
            else:  # most changes: a call less
                try:
                    self._streams.apply(change)
                except Exception:  # noqa: BLE001 - as in `_stands`
                    self._lose_sight(change)
        settled(first, failures)

    def _committed(
        self,
        changes: Sequence[Change],
        revisions: Sequence[Revision],
        done: asyncio.Future[None],
    ) -> None:
        failure = None if done.cancelled() else done.exception()
        if done.cancelled() or failure is not None:
            if not isinstance(failure, Conflict):
                for change in changes:
                    self._doubt(change)
            return
        for change, revision in zip(changes, revisions, strict=True):
            self._stands(change, revision)

    def _failed(self, change: Change, failure: Exception) -> None:
        if not isinstance(failure, Conflict | HeadgateError):
            self._streams.lose_sight(change)
        if not isinstance(failure, Conflict):
            self._doubt(change)

    def _doubt(self, change: Change) -> None:
        """Notify the observers of a change that may have been stored."""
        for notify in self.observers:
            notify(change, False)

    def _stands(self, change: Change, revision: Revision | None) -> None:
        """Apply a committed change; `revision` is from when it was sent to a shared log."""
        try:
            for notify in self.observers:
                notify(change, True)
            if not self._is_shared or revision is None or revision == self._revision(change):
                self._streams.apply(change)
            else:  # a late reply: what was learnt meanwhile may be older or newer
                self._streams.outdate(change)
                self.on_change(change)
        except Exception:  # noqa: BLE001 - the change stands in the log, and can be loaded
            self._lose_sight(change)

    def _lose_sight(self, change: Change) -> None:
        """Log the exception being handled, and have the stream loaded anew."""
        log.exception("stream.lost_sight_of", path=change.state.path)
        self._streams.lose_sight(change)

    # Of other processes

    @override
    def on_change(self, change: Change) -> None:
        active = self._streams.peek(change.state.path)
        if active is None or is_old(active.state, change):
            return
        if follows_on(active.state, change):
            active.trace_id = None
            self._streams.apply(change)
        else:
            self._streams.reload(active.path)

    @override
    def on_missed_changes(self, path: str) -> None:
        self._streams.reload(path)

    @override
    def on_removal(self, path: str, stream_id: int) -> None:
        self._streams.removed(path, stream_id)

    @override
    def on_missed_removals(self) -> None:
        """Drop all cached responses: a request for one is answered from the log again."""
        self._caches.clear()

    @override
    def on_history_change(self) -> None:
        """Drop all states and cached responses: the log may have lost acknowledged data."""
        self._caches.clear()
        for active in list(self._streams):
            self._streams.reload(active.path)
        for notify in self.history_observers:
            notify()
