"""The streams of a shared log, for the subscriptions of a route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.features.subscriptions.streams import STREAMS_AT_ONCE, RouteStreams
from headgate_gateway.protocol.lifecycle import present

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.features.subscriptions.shared.lease import WorkSharing
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState
    from headgate_gateway.streams.stream_table import StreamTable
    from headgate_gateway.streams.writes import WriteQueue


class SharedStreams(RouteStreams):
    """The streams of a shared log: all gateways report what they change (`shared.changes`)."""

    read_at_once = STREAMS_AT_ONCE

    def __init__(self, table: StreamTable, writes: WriteQueue, sharing: WorkSharing) -> None:
        super().__init__(table, writes)
        self.sharing = sharing
        self._on_observe: Callable[[], None] | None = None

    def watch(
        self,
        on_commit: Callable[[Change, bool], None],
        on_history_change: Callable[[], None],
        on_observe: Callable[[], None],
    ) -> Callable[[], None]:
        """Notify of what this gateway commits, and of a log that has lost something.

        Call `on_observe` when the owner begins to observe the streams. Return how to end all that.
        """
        commits = self.table.commits
        commits.observers.append(on_commit)
        commits.history_observers.append(on_history_change)
        self._on_observe = on_observe

        def unwatch() -> None:
            commits.observers.remove(on_commit)
            commits.history_observers.remove(on_history_change)
            self._on_observe = None

        return unwatch

    @override
    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        """Have the owner take what changes; it leaves out what is not linked."""
        if on_change is not None and self._on_observe is not None:
            self._on_observe()

    @override
    async def read(self, names: Sequence[str]) -> Mapping[str, StreamState | None]:
        found = await self.sharing.states(names)
        if any(name not in found for name in names):
            raise LogUnavailable("some of the streams cannot be reached")
        now = self.table.clock()
        return {name: _usable(state, now) for name, state in found.items()}


def _usable(state: StreamState | None, now: ClockReading) -> StreamState | None:
    """Return a stream that clients may use, and None for others."""
    try:
        return present(state, now)
    except HeadgateError:
        return None
