"""The times of wakes: how long an attempt waits for the next one, and when the timer has to act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.backoff import wait_s

if TYPE_CHECKING:
    from gateway.features.subscriptions.state.subscription import DurableSubscription

FIRST_RETRY_S, LONGEST_RETRY_S, JITTER = 1.0, 60.0, 0.2  # PROTOCOL.md section 7.1
# After a day of failures an operator has to act: an attempt an hour shows when that is done. A day
# has over a thousand attempts. With few, a clock was set ahead, or the gateway was stopped.
STUCK_AFTER_S, SELDOM_S, LEAST_FAILURES = 86_400.0, 3_600.0, 100
# A wake that nobody claims is written again: whoever read its event may have crashed before the
# claim. The pause doubles up to SELDOM_S.
FIRST_REPEAT_S = 60.0


def next_deadline(subscription: DurableSubscription) -> float | None:
    """Return when the timer has to act on a subscription, or None if it has not."""
    due, renewal = _wake_deadline(subscription), subscription.events
    if renewal is None:
        return due
    if due is None or subscription.is_paused:
        return renewal.expires_at
    return min(due, renewal.expires_at)


def _wake_deadline(subscription: DurableSubscription) -> float | None:
    """Return when a lease, a pause, or the time for another announcement is over, or None."""
    delivery = subscription.delivery
    wake = delivery.wake
    if wake is not None and wake.lease_until is not None:
        return wake.lease_until
    if delivery.next_attempt_at is not None:
        return delivery.next_attempt_at
    if wake is not None and wake.announced_at is not None:
        return wake.announced_at + wait_s(wake.announcements - 1, FIRST_REPEAT_S, SELDOM_S)
    return None


def shorten_waits(subscription: DurableSubscription, now: float) -> None:
    """Shorten leases and pauses that began before the clock was set back.

    Otherwise a lease would last, and an attempt wait, until the clock shows the former time again.
    """
    delivery = subscription.delivery
    longest = pause_s(delivery.failures, delivery.failing_s(now), 1.0)
    delivery.shorten(now, subscription.configuration.lease_s, longest)


def is_stuck(failures: int, failing_s: float) -> bool:
    """Return whether attempts have failed for so long that an operator has to act."""
    return failing_s >= STUCK_AFTER_S and failures >= LEAST_FAILURES


def pause_s(failures: int, failing_s: float, chance: float) -> float:
    """Return the pause behind a failure; `chance` from 0 to 1 spreads the attempts by 20 %."""
    pause = wait_s(failures - 1, FIRST_RETRY_S, LONGEST_RETRY_S)
    if is_stuck(failures, failing_s):
        pause = SELDOM_S
    return pause * (1.0 + JITTER * (2.0 * chance - 1.0))
