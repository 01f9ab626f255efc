"""A follower of a stream, as its feed is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.protocol.http.trace_context import TraceContext
    from gateway.protocol.streams.state import Record, StreamState


class Readers:
    """Remembers what it heard: each version with the data that came along."""

    def __init__(self) -> None:
        self.has_readers = True
        self.news: list[tuple[int, bytes]] = []
        self.over = 0

    @property
    def heard(self) -> list[int]:
        """The versions."""
        return [version for version, _ in self.news]

    def traced(self, appends: Sequence[TraceContext]) -> None:
        """Nobody asks."""

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        self.news.append((state.version, b"".join(record.data for record in records)))

    def ended(self) -> None:
        self.over += 1
