"""The counts of one answer: its events, their times, and the tokens that the provider counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.dialects.progress import TokenUsage

if TYPE_CHECKING:
    from gateway.features.models.record import Outcome


@dataclass(slots=True)
class AnswerCounts:
    """Counts of one answer while it comes; times are epoch seconds."""

    usage: TokenUsage = field(default_factory=TokenUsage)
    # Another process has recorded the end, or one will later, and counts the answer.
    count_elsewhere: bool = False
    events: int = 0
    first_events: int = 0  # those that came together with the first one
    size: int = 0  # bytes of the events
    first_at: float | None = None
    last_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None  # once it is over
    reason: str | None = None  # why it is not complete
    readers: int = 0  # responses of this process that have followed it

    def add_reader(self) -> int:
        """Count one more reader; return its number, which is 1 for the first."""
        self.readers += 1
        return self.readers

    def count(self, events: int, size: int, now: float) -> None:
        """Count events of the provider that have come together."""
        self.events += events
        self.size += size
        self.last_at = now
        if self.first_at is None:
            self.first_at, self.first_events = now, events
