"""The streams of a log of our own, for the subscriptions of its route."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.subscriptions.streams import StreamSource
from gateway.later import Later
from gateway.logs.contract import listing_of
from gateway.protocol.requests import Append
from gateway.streams.outcomes import set_outcome, submitted
from gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.streams.state import Change, StreamState
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
        """Do nothing: what concerns nobody is left out only here."""

    @override
    async def append(self, name: str, event: bytes) -> None:
        append = Append(event, "application/json", None, None, False)
        outcome: Later[AppendOutcome] = Later()
        self._writes.submit(name, submitted(append, partial(set_outcome, outcome)))
        await outcome
