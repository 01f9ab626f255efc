"""The streams of a route for its subscriptions: known with each commit, and listed at a start."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headgate_gateway.later import Later
from headgate_gateway.logs.contract import listing_of
from headgate_gateway.protocol.requests import Append
from headgate_gateway.streams.outcomes import set_outcome, submitted
from headgate_gateway.streams.stream_table import find_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.streams.state import Change, StreamState
    from headgate_gateway.streams.stream_table import StreamTable
    from headgate_gateway.streams.writes import WriteQueue


STREAMS_AT_ONCE = 500  # of one page of the log's list


class RouteStreams:
    """The streams of a route: each committed change is known at once."""

    read_at_once = 1  # streams by name: what they are may change while the next one is read

    def __init__(self, table: StreamTable, writes: WriteQueue) -> None:
        self.table = table
        self._writes = writes
        self.turns = table.turns
        self._on_change: Callable[[Change], None] | None = None

    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        """Notify `on_change` of each change, before the client that made it gets an answer."""
        if self._on_change is not None:
            self.table.observers.remove(self._on_change)
        if on_change is not None:
            self.table.observers.append(on_change)
        self._on_change = on_change

    async def states(self, beginning: str, pause: float = 0.0) -> AsyncIterator[StreamState]:
        """Yield the streams whose names have this beginning. Raises LogUnavailable.

        After each page, pause for so many times as long as the page has taken.
        """
        listing, after = listing_of(self.table.log), ""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            page = await listing.page(beginning, after, STREAMS_AT_ONCE)
            for state in page.states:
                yield state
            if page.after is None:
                return
            after = page.after
            await asyncio.sleep(pause * (loop.time() - began))

    async def read(self, names: Sequence[str]) -> Mapping[str, StreamState | None]:
        """Return the streams that clients may use, by name; None for others.

        Raises LogUnavailable.
        """
        return {name: await find_stream(self.table, name) for name in names}

    async def append(self, name: str, event: bytes) -> None:
        """Append a JSON message to a stream. Raises HeadgateError."""
        append = Append(event, "application/json", None, None, False)
        outcome: Later[AppendOutcome] = Later()
        self._writes.submit(name, submitted(append, partial(set_outcome, outcome)))
        await outcome
