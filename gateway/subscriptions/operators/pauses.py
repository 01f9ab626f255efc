"""Subscriptions whose wakes an operator stops for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.subscriptions.engine import RouteSubscriptions
    from gateway.subscriptions.subscription import DurableSubscription


def set_paused(
    engine: RouteSubscriptions, subscription: DurableSubscription, *, is_paused: bool
) -> None:
    """Send no wakes any more, or again, at once if something is pending.

    A lease that is in force stays so.
    """
    if is_paused is subscription.is_paused:
        return
    subscription.delivery.paused_at = engine.clock() if is_paused else None
    engine.rows.mark(subscription)
    engine.wakes.retry_now(subscription)  # which leaves paused ones alone
