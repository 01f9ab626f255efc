"""A follower of a stream, as its feed is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.streams.follower import StreamFollower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.streams.state import Record, StreamState


class Readers(StreamFollower):
    """Remembers what it heard: each version with the data that came along."""

    has_readers = True  # though it has no feeds

    def __init__(self) -> None:
        self.feeds = {}
        self.news: list[tuple[int, bytes]] = []
        self.over = 0

    @property
    def heard(self) -> list[int]:
        """The versions."""
        return [version for version, _ in self.news]

    @override
    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        self.news.append((state.version, b"".join(record.data for record in records)))

    @override
    def ended(self) -> None:
        self.over += 1
