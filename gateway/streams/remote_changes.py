"""Changes of a shared log's streams by other processes, applied to the active streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import LogListener
from gateway.streams.versions import follows_on, is_old

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.protocol.streams.state import Change
    from gateway.streams.active_stream import ActiveStreams, Caches


class RemoteChangeListener(LogListener):
    """The listener of one table to its log."""

    def __init__(self, streams: ActiveStreams, caches: Caches) -> None:
        self._streams = streams
        self._caches = caches
        # Each is called when the log may have lost what it acknowledged.
        self.history_observers: list[Callable[[], None]] = []

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
