"""The state of a subscription's deliveries: the wake in flight, failures, and what it waits for."""

from __future__ import annotations

import secrets

import msgspec


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

    @classmethod
    def new(cls, now: float) -> Wake:
        """Return a wake with an id of its own."""
        return cls(f"w_{secrets.token_urlsafe(12)}", begun_at=now)


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

    def succeed(self) -> None:
        """Note that the worker has acknowledged something, or that there is nothing to do."""
        self.failures = 0
        self.failing_since = self.next_attempt_at = None
        self.last_error = self.last_category = None
