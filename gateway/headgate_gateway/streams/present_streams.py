"""The streams of a log that are there now, a page at a time by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.errors import HeadgateError
from headgate_gateway.logs.contract import ListingPage, listing_of
from headgate_gateway.protocol.lifecycle import present

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.streams.stream_table import StreamTable

LOOKS = 10  # at the log for one page: where many are over a page is short, and the next goes on


async def present_page(table: StreamTable, prefix: str, after: str, limit: int) -> ListingPage:
    """Return the first streams, at most `limit`, that begin with `prefix` and follow `after`.

    Streams that have ended are not among them. Raises NotOffered, LogUnavailable.
    """
    listing = listing_of(table.log)
    states: list[StreamState] = []
    more: str | None = after
    for _ in range(LOOKS):
        if more is None or len(states) == limit:
            break
        listed = await listing.page(prefix, more, limit - len(states))
        states += present_states(table, listed.states)
        more = listed.after
    return ListingPage(states, more)


def present_states(table: StreamTable, states: Iterable[StreamState]) -> list[StreamState]:
    """Return the newest states of streams, without those that have ended."""
    now = table.clock()
    found = []
    for state in states:
        try:
            found.append(present(_newest(table, state), now))
        except HeadgateError:  # it has ended, and is not removed yet
            continue
    return found


def _newest(table: StreamTable, state: StreamState) -> StreamState:
    """Return the state in memory of a log that no other process writes, else the stored one."""
    active = None if table.is_shared else table.peek(state.path)
    return state if active is None or active.state is None else active.state
