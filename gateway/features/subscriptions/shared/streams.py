"""The streams of a log that several gateways share, for the one that has the subscriptions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import HeadgateError, LogUnavailable
from gateway.features.subscriptions.shared.changes import ChangeSource
from gateway.features.subscriptions.streams.hosted_streams import STREAMS_AT_ONCE, HostedStreams
from gateway.logs.contract import listing_of
from gateway.protocol.lifecycle import present

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.features.subscriptions.shared.changes import ReportedChanges
    from gateway.features.subscriptions.shared.divided_work import WorkSharing
    from gateway.features.subscriptions.streams.contract import StreamView
    from gateway.protocol.streams.state import Change, ClockReading, StreamState
    from gateway.streams.stream_table import StreamTable
    from gateway.streams.writes import WriteQueue

# A slow list pauses for this many times the duration of each page, so that it takes a tenth of the
# time from others.
PAUSE = 9.0
LEAST_PAUSE_S = 0.002


class SharedStreams(HostedStreams, ChangeSource):
    """The streams of a shared log: all gateways report what they change (`shared.changes`)."""

    def __init__(self, table: StreamTable, writes: WriteQueue, sharing: WorkSharing) -> None:
        super().__init__(table, writes)
        self.table = table
        self.sharing = sharing
        self._changed: ReportedChanges | None = None
        self._on_history_change: Callable[[], None]
        self._on_observe: Callable[[], None]

    @override
    def watch(
        self,
        changed: ReportedChanges,
        on_history_change: Callable[[], None],
        on_observe: Callable[[], None],
    ) -> None:
        self._changed, self._on_observe = changed, on_observe
        self._on_history_change = on_history_change
        self.table.commits.observers.append(changed.on_commit)
        self.table.commits.history_observers.append(on_history_change)

    @override
    def unwatch(self) -> None:
        assert self._changed is not None, "it was watched"
        self.table.commits.observers.remove(self._changed.on_commit)
        self.table.commits.history_observers.remove(self._on_history_change)
        self._changed = None

    @override
    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        """Have the gateways report what they change; the owner leaves out what concerns nobody."""
        if on_change is not None and self._changed is not None:
            self._on_observe()

    @override
    async def read_together(self, names: Sequence[str]) -> Mapping[str, StreamView | None]:
        found = await self.sharing.states(names)
        if any(name not in found for name in names):
            raise LogUnavailable("some of the streams cannot be reached")
        now = self.table.clock()
        return {name: _usable(state, now) for name, state in found.items()}

    async def states_slowly(self) -> AsyncIterator[StreamState]:
        """Yield all streams, working for a tenth of the time."""
        listing, after = listing_of(self.table.log), ""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            page = await listing.page("", after, STREAMS_AT_ONCE)
            for state in page.states:
                yield state
            if page.after is None:
                return
            after = page.after
            await asyncio.sleep(max(LEAST_PAUSE_S, PAUSE * (loop.time() - began)))


def _usable(state: StreamState | None, now: ClockReading) -> StreamState | None:
    """Return a stream that clients may use, and None for others."""
    try:
        return present(state, now)
    except HeadgateError:
        return None
