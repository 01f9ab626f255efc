"""Cursors of events at an HTTP origin, whose reads bring messages in batches.

An origin tells one offset behind a batch, and may cut the same messages into other batches when
they are read again. So a cursor counts the messages behind an offset, which every cut agrees on,
and all messages since the client began, by which the ids of events stay the same.
"""

from __future__ import annotations

import re
import secrets

from gateway.features.mcp.cursors import refused_cursor
from gateway.features.subscriptions.state.delivery_state import EventNumbering, EventPosition
from gateway.protocol.streams.offsets import BEGINNING, NOW, is_plain

_CHAIN_BYTES = 12  # random: no two clients begin with the same
_CURSOR = re.compile(
    r"o([A-Za-z0-9_-]{16})\.([0-9]{1,15})\.([0-9]{1,9})(c?)\.([!-~]{1,256})", re.ASCII
)


def new_numbering() -> EventNumbering:
    """Return a numbering that begins now."""
    return EventNumbering(secrets.token_urlsafe(_CHAIN_BYTES), 0)


def with_numbering(at: EventPosition) -> EventPosition:
    """Return a position with a numbering, which begins there if it has none."""
    return at if at.numbering is not None else at._replace(numbering=new_numbering())


def origin_cursor(at: EventPosition) -> str:
    """Return the cursor of a position; "" and what is no offset are the beginning."""
    at = with_numbering(at)
    assert at.numbering is not None, "it has one now"
    offset = at.position if isinstance(at.position, str) and at.position else BEGINNING
    closed = "c" if at.is_closed else ""
    return f"o{at.numbering.chain}.{at.numbering.number}.{at.messages}{closed}.{offset}"


def origin_position(cursor: object) -> EventPosition:
    """Return the position that a cursor stands for. Raises RpcError."""
    match = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if match is None or match[5] == NOW or not is_plain(match[5]):
        raise refused_cursor()
    chain, number, messages, closed, offset = match.groups()
    position = "" if offset == BEGINNING else offset
    return EventPosition(position, int(messages), bool(closed), EventNumbering(chain, int(number)))
