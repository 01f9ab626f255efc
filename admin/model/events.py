"""Events as the pages and the API show them, as values."""

from __future__ import annotations

import msgspec

from gateway.telemetry.event_journal import EventKind, EventLevel


class ConsoleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that was found or done, from `at` to `last_at`, `count` times within minutes.

    `sequence` grows with each change of an event, whose `id` stays. `lasts` says that it goes on;
    `ended_at` is None for events without a duration, and for those whose end nobody saw.
    """

    sequence: int
    id: int
    key: str  # the same for the same thing
    kind: EventKind
    level: EventLevel
    sentence: str
    route: str | None = None
    at: float
    last_at: float
    ended_at: float | None = None
    lasts: bool = False
    count: int = 1
    gateway: str = ""  # the one that shared it; empty for those of this gateway

    @property
    def lasted(self) -> float | None:
        """Seconds from its beginning to its end."""
        return None if self.ended_at is None else self.ended_at - self.at


class EventList(msgspec.Struct, frozen=True):
    """Events by their sequence, and the sequence of the newest event that there is."""

    events: tuple[ConsoleEvent, ...]
    last: int
    is_cut: bool = False  # there are more, of which the oldest are left out


class EventMark(msgspec.Struct, frozen=True):
    """An event in a chart: its beginning (epoch seconds), a sentence, and a word or two."""

    at: float
    level: EventLevel
    sentence: str
    label: str
