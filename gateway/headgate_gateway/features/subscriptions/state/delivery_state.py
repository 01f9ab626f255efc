"""The parts of a subscription that are stored: cursors, the wake in flight, failures and pauses."""

from __future__ import annotations

import secrets
from typing import NamedTuple

import msgspec


class CursorRow(msgspec.Struct, frozen=True, array_like=True):
    """A link as it is stored; a `stream_id` of None is a stream that did not exist so far."""

    stream_id: int | None
    position: int
    is_closed: bool
    is_explicit: bool


class SnapshotEnd(NamedTuple):
    """The end of a stream as a wake has it."""

    stream_id: int
    tail: int
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


class DeliveryState(msgspec.Struct):
    """The state that changes with each wake, stored before anything that depends on it is sent.

    `failures` counts the attempts since the last acknowledgement that came to nothing, the first of
    them at `failing_since`. Something waits for an acknowledgement since `waiting_since`, and an
    operator has paused the subscription at `paused_at`.
    """

    generation: int = 0
    wake: Wake | None = None
    failures: int = 0
    failing_since: float | None = None
    next_attempt_at: float | None = None
    last_error: str | None = None
    waiting_since: float | None = None
    paused_at: float | None = None

    # The wake in flight

    def begin_wake(self, now: float) -> Wake:
        """Begin a wake of the next generation: requests for earlier ones are refused."""
        self.generation += 1
        self.wake = wake = Wake(f"w_{secrets.token_urlsafe(12)}", begun_at=now)
        return wake

    # Attempts

    def note_failure(self, reason: str, now: float) -> None:
        """Count an attempt that came to nothing."""
        self.failures += 1
        self.failing_since = self.failing_since or now
        self.last_error = reason

    def failing_s(self, now: float) -> float:
        """Return for how many seconds attempts have come to nothing."""
        return 0.0 if self.failing_since is None else max(0.0, now - self.failing_since)

    def succeed(self) -> None:
        """Note that the worker has acknowledged something, or that there is nothing to do."""
        self.failures = 0
        self.failing_since = self.next_attempt_at = None
        self.last_error = None
