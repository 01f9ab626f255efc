"""The parts of a subscription that are stored: cursors, the wake in flight, failures and pauses."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from gateway.features.subscriptions.streams import Position


class EventNumbering(NamedTuple):
    """The number of events since some position, for streams whose offsets do not tell it.

    The random text `chain` names that position.
    """

    chain: str
    number: int

    def after(self, events: int) -> EventNumbering:
        """Return the numbering after so many more events."""
        return EventNumbering(self.chain, self.number + events)


class EventPosition(NamedTuple):
    """A position in a stream: behind a record, and behind some messages of the next one.

    It may also be behind the end of the stream, which `is_closed` then. The `numbering` is that
    of the position, without the messages.
    """

    position: Position
    messages: int = 0
    is_closed: bool = False
    numbering: EventNumbering | None = None


class CursorRow(msgspec.Struct, frozen=True, array_like=True):
    """A link as it is stored; a `stream_id` of None is a stream that did not exist so far."""

    stream_id: int | None
    position: int | str
    is_closed: bool
    is_explicit: bool
    numbering: EventNumbering | None = None
    messages: int = 0


class SnapshotEnd(NamedTuple):
    """The end of a stream as a wake has it."""

    stream_id: int
    tail: Position
    is_closed: bool


class Wake(msgspec.Struct):
    """A wake in flight. `holder` is who claimed it; a webhook's has none.

    `announced_at` is when the event was written to the wake stream, `announcements` how often.
    """

    wake_id: str
    holder: str | None = None
    lease_until: float | None = None
    announced_at: float | None = None
    announcements: int = 0
    begun_at: float | None = None


class RenewalState(msgspec.Struct, frozen=True):
    """The part of a subscription that a host of MCP changes by renewals; it ends at `expires_at`.

    The secrets of its receiver are encrypted, the present one first; the former ones sign as well
    until `former_until`.
    """

    event: str
    sealed_secrets: tuple[bytes, ...]
    former_until: float
    expires_at: float


class DeliveryState(msgspec.Struct):
    """The state that changes with each wake, stored before anything that depends on it is sent.

    `failures` counts the attempts since the last acknowledgement that came to nothing, the first of
    them at `failing_since`; `last_category` is the kind of the last error, if it has one. Something
    waits for an acknowledgement since `waiting_since`, and an operator has paused the subscription
    at `paused_at`.
    """

    generation: int = 0
    wake: Wake | None = None
    failures: int = 0
    failing_since: float | None = None
    next_attempt_at: float | None = None
    last_error: str | None = None
    last_category: str | None = None
    waiting_since: float | None = None
    paused_at: float | None = None

    # The wake in flight

    def begin_wake(self, now: float) -> Wake:
        """Begin a wake of the next generation: requests for earlier ones are refused."""
        self.generation += 1
        self.wake = wake = Wake(f"w_{secrets.token_urlsafe(12)}", begun_at=now)
        return wake

    # Attempts

    def note_failure(self, reason: str, category: str | None, now: float) -> None:
        """Count an attempt that came to nothing."""
        self.failures += 1
        self.failing_since = self.failing_since or now
        self.last_error, self.last_category = reason, category

    def failing_s(self, now: float) -> float:
        """Return for how many seconds attempts have come to nothing."""
        return 0.0 if self.failing_since is None else max(0.0, now - self.failing_since)

    def succeed(self) -> None:
        """Note that the worker has acknowledged something, or that there is nothing to do."""
        self.failures = 0
        self.failing_since = self.next_attempt_at = None
        self.last_error = self.last_category = None
