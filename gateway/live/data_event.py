"""Data events, which are rendered once for all SSE readers at the same position."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.protocol import sse

if TYPE_CHECKING:
    from gateway.turns import Turns

LONGEST_ROUND = 512 * 1024  # bytes that are made into events at once: 12 ms for mere line ends


class DataEvent(NamedTuple):
    """A data event, rendered but for its chunk's framing, and the offset at which its data ends."""

    rendered: bytes
    end: str


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """The data event of a read's body, in turns when that takes long."""
    if sse.is_long(body):
        return await turns.take(sse.long_data_event(content_type, body))
    return sse.data_event(content_type, body)
