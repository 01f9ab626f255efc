"""The times of wakes: pauses between attempts, and one timer for the deadlines of all."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

from headgate.retries import wait_s
from headgate_gateway.features.subscriptions.delivery.queue import SELDOM_S, pause_s
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription


# A wake that no worker claims is written again: the reader of its event may have crashed before the
# claim. The pause doubles up to SELDOM_S.
FIRST_REPEAT_S = 60.0


def next_deadline(subscription: DurableSubscription) -> float | None:
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
    if (wake := delivery.wake) is not None:
        wake.lease_until = _earlier(wake.lease_until, now + subscription.configuration.lease_s)
        wake.announced_at = _earlier(wake.announced_at, now)
    delivery.failing_since = _earlier(delivery.failing_since, now)
    delivery.next_attempt_at = _earlier(delivery.next_attempt_at, now + longest)


def _earlier(moment: float | None, latest: float) -> float | None:
    return None if moment is None else min(moment, latest)


LONGEST_SLEEP_S = 60.0  # then the wall clock is read again, because it may have been set


class DeadlineTimer:
    """A timer that calls `on_due` with each subscription whose deadline is over by the clock.

    When the clock was set back, it calls `on_set_back` with each subscription that has a deadline,
    to have a new one scheduled.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_due: Callable[[DurableSubscription], None],
        on_set_back: Callable[[DurableSubscription], None],
    ) -> None:
        self._clock = clock
        self._on_due = on_due
        self._on_set_back = on_set_back
        self._latest = clock()  # the last time that was read from the clock
        self._deadlines: list[tuple[float, int, DurableSubscription]] = []
        self._due: dict[DurableSubscription, float] = {}  # the one in force, in epoch seconds
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True

    def close(self) -> None:
        """Stop the timer."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()

    def schedule(self, subscription: DurableSubscription, due: float | None) -> None:
        """Replace the deadline of a subscription; None is no deadline."""
        if due == self._due.get(subscription):
            return
        if due is None or not self._is_open:
            self._due.pop(subscription, None)
            return
        self._due[subscription] = due
        heapq.heappush(self._deadlines, (due, next(self._order), subscription))
        if self._deadlines[0][2] is subscription or self._timer is None:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadlines and self._is_open:
            self._latest = now = self._clock()
            wait_s = min(max(0.0, self._deadlines[0][0] - now), LONGEST_SLEEP_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.run_due)

    def run_due(self) -> None:
        """Act on the deadlines that are over, and leave out those that were replaced."""
        now = self._clock()
        if now < self._latest:
            self._set_back()
        while self._deadlines and self._deadlines[0][0] <= now:
            due, _, subscription = heapq.heappop(self._deadlines)
            if self._due.get(subscription) != due:
                continue  # another one was scheduled
            del self._due[subscription]
            if subscription.phase == "active":
                try:
                    self._on_due(subscription)
                except Exception:  # noqa: BLE001 - the deadlines of others must count
                    log.exception("subscription.deadline_missed", subscription=subscription.id)
        self._set()

    def _set_back(self) -> None:
        scheduled = list(self._due)
        self._deadlines.clear()
        self._due.clear()
        for subscription in scheduled:
            self._on_set_back(subscription)
