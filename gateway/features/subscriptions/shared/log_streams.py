"""The streams of a log of our own, and the subscriptions of a log that several gateways share."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.errors import HeadgateError, LogUnavailable
from gateway.features.subscriptions.shared.loader import OwnedSubscriptions
from gateway.features.subscriptions.shared.mail import GrowthReport
from gateway.features.subscriptions.streams import StreamSource
from gateway.later import Later
from gateway.logs.contract import listing_of
from gateway.protocol.lifecycle import present
from gateway.protocol.requests import Append
from gateway.protocol.streams.state import Change, StreamState
from gateway.streams.outcomes import set_outcome, submitted
from gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

    from gateway.features.subscriptions.shared.lease import WorkSharing
    from gateway.features.subscriptions.shared.mail import StreamNote
    from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
    from gateway.features.subscriptions.streams import StreamView
    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.streams.state import ClockReading
    from gateway.streams.stream_table import StreamTable
    from gateway.streams.writes import WriteQueue


STREAMS_AT_ONCE = 500  # of one page of the log's list


class HostedStreams(StreamSource):
    """The streams of a log of our own: each committed change is known at once."""

    is_listed = True

    def __init__(self, table: StreamTable, writes: WriteQueue) -> None:
        self._table = table
        self._writes = writes
        self.turns = table.turns
        self._on_change: Callable[[Change], None] | None = None

    @override
    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        if self._on_change is not None:
            self._table.observers.remove(self._on_change)
        if on_change is not None:
            self._table.observers.append(on_change)
        self._on_change = on_change

    @override
    async def states(self, beginning: str) -> AsyncIterator[StreamState]:
        listing, after = listing_of(self._table.log), ""
        while True:
            page = await listing.page(beginning, after, STREAMS_AT_ONCE)
            for state in page.states:
                yield state
            if page.after is None:
                return
            after = page.after
            await asyncio.sleep(0)

    @override
    async def state(self, name: str) -> StreamState | None:
        return await find_stream(self._table, name)

    @override
    async def refresh(self, names: Iterable[str]) -> None:
        """Do nothing: each change is taken as it is committed."""

    @override
    async def on_new_links(self, names: Iterable[str]) -> None:
        """Do nothing: each commit here is known at once."""

    @override
    async def append(self, name: str, event: bytes) -> None:
        append = Append(event, "application/json", None, None, False)
        outcome: Later[AppendOutcome] = Later()
        self._writes.submit(name, submitted(append, partial(set_outcome, outcome)))
        await outcome


# A slow list pauses for this many times the duration of each page, so that it takes a tenth of the
# time from others.
PAUSE = 9.0
LEAST_PAUSE_S = 0.002


class SharedStreams(HostedStreams):
    """The streams of a shared log: all gateways report what they change (`shared.changes`)."""

    def __init__(self, table: StreamTable, writes: WriteQueue, sharing: WorkSharing) -> None:
        super().__init__(table, writes)
        self.table = table
        self.sharing = sharing
        self._on_observe: Callable[[], None] | None = None

    def watch(self, subscriptions: SharedSubscriptions) -> Callable[[], None]:
        """Report what this gateway commits to these subscriptions; return how to end that."""
        commits = self.table.commits
        on_commit = subscriptions.changed.on_commit
        commits.observers.append(on_commit)
        commits.history_observers.append(subscriptions.on_history_change)
        self._on_observe = subscriptions.on_first_subscription

        def unwatch() -> None:
            commits.observers.remove(on_commit)
            commits.history_observers.remove(subscriptions.on_history_change)
            self._on_observe = None

        return unwatch

    @override
    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        """Have all gateways report what they change; the owner leaves out what is not linked."""
        if on_change is not None and self._on_observe is not None:
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


class OwnedLogSubscriptions(OwnedSubscriptions):
    """The subscriptions of one route to a log of our own, whose streams are read there."""

    streams: SharedStreams

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be, or is a wake stream."""
        return path in self.wake_streams or self.membership.concerns(path)

    def apply(self, path: str, state: StreamState | None, *, is_new: bool) -> None:
        """Take the present state of a stream, None if there is none."""
        known = self.membership.state_of(path)
        if state is not None and state.soft_deleted:
            state = None
        assert known is None or isinstance(known, StreamState), "a stream of a log of our own"
        if known is not None and state is not None and state.is_along(known):
            if state.version >= known.version:
                self.on_change(Change(state, state.version))
            return  # else a later read was quicker
        if known is not None and (state is None or state.stream_id != known.stream_id):
            self.on_change(Change(known, known.version, removes=True))
            known = None
        if state is not None:
            is_first = known is None and (is_new or path not in self.wake_streams)
            self.on_change(Change(state, None if is_first else state.version))

    @override
    def take_commit(self, change: Change) -> bool:
        state = change.state
        known = self.membership.state_of(state.path)
        if known is None:
            return not self.concerns(state.path)
        assert isinstance(known, StreamState), "a stream of a log of our own"
        if change.removes or state.soft_deleted or not state.is_along(known):
            return False  # another gateway may have removed or created it meanwhile
        if state.version > known.version:
            self.on_change(change)
        return True

    @override
    async def refresh(self, names: Iterable[str]) -> None:
        linked = [name for name in names if name in self.membership.streams]
        for start in range(0, len(linked), STREAMS_AT_ONCE):
            some = linked[start : start + STREAMS_AT_ONCE]
            for path, state in (await self.streams.sharing.states(some)).items():
                self.apply(path, state, is_new=False)

    @override
    def take_note(self, path: str, note: StreamNote) -> bool:
        known = self.membership.state_of(path)
        if known is None:
            return not self.concerns(path)
        assert isinstance(known, StreamState), "a stream of a log of our own"
        if not isinstance(note, GrowthReport):
            return False
        if (known.stream_id, known.history) != (note.stream_id, note.history):
            return False
        if note.version > known.version >= note.since:
            grown = msgspec.structs.replace(known, version=note.version, tail=note.tail)
            self.on_change(Change(grown, known.version))
        return known.version >= note.since

    @override
    async def apply_notes(self, notes: Mapping[str, StreamNote]) -> Collection[str]:
        to_read = [path for path in notes if self.concerns(path)]
        states = await self.streams.sharing.states(to_read) if to_read else {}
        for path, state in states.items():
            self.apply(path, state, is_new=notes[path] is True)
        return (notes.keys() - set(to_read)) | states.keys()

    @override
    async def compare(self, note: Callable[[str, StreamNote], None]) -> None:
        seen: set[str] = set()
        async for state in self.streams.states_slowly():
            known = self.membership.state_of(state.path)
            if known is not None:
                seen.add(state.path)
            if self.concerns(state.path) and _differs(known, state):
                note(state.path, known is None and state.path not in self.wake_streams)
        for subscription in self.by_id.values():
            for path, link in subscription.links.items():
                if link.stream.state is not None and path not in seen:
                    note(path, False)


def _differs(known: StreamView | None, state: StreamState) -> bool:
    if known is None:
        return not state.soft_deleted
    return state.stream_id != known.stream_id or state.version != known.version
