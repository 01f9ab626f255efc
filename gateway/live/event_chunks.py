"""Data events of catch-up reads, rendered once for all SSE readers of a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.store import CacheEntry
from gateway.telemetry.traffic import CacheShare

if TYPE_CHECKING:
    from collections.abc import Hashable

# Rendered for SSE readers who catch up: they come close behind each other, or all at once.
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
        # It is not among the answers that are told of: its store is its route's own.
        super().__init__(key, len(data_event), groups, owner=CacheShare(), expires_at=expires_at)
        self.data_event = data_event
        self.end = end
