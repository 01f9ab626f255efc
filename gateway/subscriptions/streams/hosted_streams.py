"""The streams of a log of our own, for the subscriptions of its route."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.backends.contract import listing_of
from gateway.errors import HeadgateError
from gateway.later import Later
from gateway.protocol.requests import Append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.streams.appender import Appender
    from gateway.streams.stream_table import StreamTable

STREAMS_AT_ONCE = 500  # of one page of the log's list


class HostedStreams:
    """The streams of a log of our own: each committed change is known at once."""

    is_listed = True

    def __init__(self, table: StreamTable, appender: Appender) -> None:
        self._table = table
        self._appender = appender
        self.turns = table.turns

    def observe(self, on_change: Callable[[Change], None] | None) -> None:
        """Notify `on_change` of each committed change."""
        self._table.observer = on_change

    async def states(self, beginning: str) -> AsyncIterator[StreamState]:
        """Yield the streams whose names have this beginning, page by page, in turns."""
        listing, after = listing_of(self._table.log), ""
        while True:
            page = await listing.page(beginning, after, STREAMS_AT_ONCE)
            for state in page.states:
                yield state
            if page.after is None:
                return
            after = page.after
            await asyncio.sleep(0)

    async def state(self, name: str) -> StreamState | None:
        """Return the state of a stream that a client may use, or None."""
        active = await self._table.load(name)
        try:
            return self._table.present(active)
        except HeadgateError:
            return None

    async def refresh(self, names: Iterable[str]) -> None:
        """Do nothing: each change is taken as it is committed."""

    async def append(self, name: str, event: bytes) -> None:
        """Append a JSON message. Raises HeadgateError."""
        append = Append(event, "application/json", None, None, False)
        outcome: Later[AppendOutcome | HeadgateError] = Later()
        self._appender.submit(name, append, outcome.set_result)
        result = await outcome
        if isinstance(result, HeadgateError):
            raise result
