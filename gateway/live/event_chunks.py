"""Data events of chunks, rendered for SSE readers who catch up, and cached for the next ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol.bodies.content import data_event, is_long_event, long_data_event
from gateway.store import CacheEntry
from gateway.telemetry.traffic import CacheShare

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.background import Turns

LONGEST_ROUND = 512 * 1024  # bytes rendered as events in one turn: 12 ms if all are line ends
# Readers who catch up come close behind each other, or all at once.
EVENT_CHUNK_BYTES = 32 << 20


class EventChunk(CacheEntry):
    """The data event of one chunk, and the offset at which the chunk ends."""

    __slots__ = ("data_event", "end")

    def __init__(
        self,
        key: Hashable,
        groups: tuple[Hashable, ...],
        data_event: bytes,
        end: str,
        *,
        expires_at: float | None = None,
    ) -> None:
        # No metric includes it: its store is its route's own.
        super().__init__(key, len(data_event), groups, owner=CacheShare(), expires_at=expires_at)
        self.data_event = data_event
        self.end = end


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """Render the data event for the body of a read, in turns if the body is long."""
    if is_long_event(body):
        return await turns.run(long_data_event(content_type, body))
    return data_event(content_type, body)
