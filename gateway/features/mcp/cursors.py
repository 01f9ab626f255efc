"""Cursors of events, which clients store and give back, and the positions that they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import BadRequest, StreamGone
from gateway.features.mcp.rpc import INVALID_PARAMS, RpcError
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.protocol.streams.offsets import parse_offset
from gateway.protocol.streams.state import reckoned_position

if TYPE_CHECKING:
    from gateway.features.subscriptions.streams import StreamView
    from gateway.protocol.streams.state import StreamState

_CURSOR = re.compile(r"([0-9]{1,20})\.([0-9]{16}_[0-9]{16})\.([0-9]{1,9})(c?)", re.ASCII)
BEFORE_CREATION = "0.0000000000000000_0000000000000000.0"  # of a stream that does not exist yet


class EventPlace(NamedTuple):
    """The position at which a client goes on; `is_truncated` if it cannot have all events."""

    position: EventPosition
    is_truncated: bool = False


def cursor_at(state: StreamView | None, at: EventPosition) -> str:
    """Return the cursor of a position in a stream."""
    if state is None:
        return BEFORE_CREATION
    closed = "c" if at.is_closed else ""
    return f"{state.stream_id}.{state.offset(at.position)}.{at.messages}{closed}"


def checked_cursor(cursor: object) -> str | None:
    """Return a cursor of a request; None is for events from now on. Raises RpcError."""
    if cursor is None:
        return None
    if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
        raise refused_cursor()
    return cursor


def refused_cursor() -> RpcError:
    """Return the error for a cursor that is none of a route."""
    return RpcError(INVALID_PARAMS, "cursor is none that was given out here")


def place_of(state: StreamState, cursor: str | None) -> EventPlace:
    """Return where a cursor leads; where it leads nowhere any more, the first event that is there.

    A stream that was created behind the cursor counts from its own beginning.
    """
    if cursor is None:
        return EventPlace(EventPosition(state.tail, 0, state.closed))
    match = _CURSOR.fullmatch(cursor)
    assert match is not None, "it was checked"
    stream_id, offset, messages, closed = match.groups()
    first = EventPosition(max(state.first, state.beginning))
    if cursor == BEFORE_CREATION:
        return EventPlace(first, state.first > state.beginning)
    if int(stream_id) != state.stream_id:
        return EventPlace(first, is_truncated=True)
    try:
        position = reckoned_position(state, parse_offset(offset, "cursor"))
    except (StreamGone, BadRequest):
        return EventPlace(first, is_truncated=True)
    if position > state.tail:
        return EventPlace(EventPosition(state.tail), is_truncated=True)
    is_closed = bool(closed) and position == state.tail and state.closed
    return EventPlace(EventPosition(position, int(messages), is_closed))
