"""Every transition of a wake: its beginning, its delivery, its lease, its failures and its end.

All of it is decided at once, without waiting; what leaves the process waits for `rows.flush`.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from headgate_gateway.features.subscriptions.delivery.queue import pause_s
from headgate_gateway.features.subscriptions.errors import SubscriptionRefused
from headgate_gateway.features.subscriptions.wakes import acknowledgements
from headgate_gateway.features.subscriptions.wakes.timing import (
    DeadlineTimer,
    next_deadline,
    shorten_waits,
)
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.features.subscriptions.delivery.queue import DeliveryQueue
    from headgate_gateway.features.subscriptions.rows import SubscriptionRows
    from headgate_gateway.features.subscriptions.state.delivery_state import SnapshotEnd, Wake
    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
    from headgate_gateway.features.subscriptions.wakes.acknowledgements import (
        Acknowledgement,
        CursorChange,
    )

UNACKNOWLEDGED = (
    "the receiver accepted the wake, and did not acknowledge what is pending; see its log, as it "
    'has to answer {"done": true} or call back with acks'
)


class Wakes:
    """The wakes of one route's subscriptions, with a timer for their deadlines."""

    def __init__(
        self,
        rows: SubscriptionRows,
        clock: Callable[[], float],
        deliveries: DeliveryQueue[DurableSubscription],
    ) -> None:
        """`deliveries` get subscriptions whose wakes are to be sent or written."""
        self.rows = rows
        self.clock = clock
        self._deliveries = deliveries
        self.timer = DeadlineTimer(clock, self._on_due, self._on_clock_set_back)
        self._is_open = True
        self.counts: Counter[str] = Counter()

    def close(self) -> None:
        """Stop the timer."""
        self._is_open = False
        self.timer.close()

    # A wake begins

    def consider(self, subscription: DurableSubscription) -> bool:
        """Begin a wake if there is pending work and none is in flight; return whether it began."""
        delivery = subscription.delivery
        if delivery.waiting_since is None and subscription.pending:
            delivery.waiting_since = self.clock()
        if delivery.wake is not None or not subscription.pending:
            return False
        if not subscription.may_send or not self._is_open:
            return False
        if delivery.next_attempt_at is not None:
            if self.clock() < delivery.next_attempt_at:
                self._schedule(subscription)
                return False
            delivery.next_attempt_at = None
        self._begin(subscription)
        self._deliveries.queue(subscription)
        return True

    def _begin(self, subscription: DurableSubscription) -> Wake:
        wake = subscription.delivery.begin_wake(self.clock())
        subscription.snapshot_ends = {}
        self.counts["begun"] += 1
        self.rows.mark(subscription)
        return wake

    def restore(self, subscription: DurableSubscription) -> None:
        """Go on with a subscription as it was stored, after a start of the process."""
        shorten_waits(subscription, self.clock())
        wake = subscription.delivery.wake
        if wake is None:
            self.consider(subscription)
        elif wake.lease_until is None and subscription.delivery.next_attempt_at is None:
            self._deliveries.queue(subscription)
        else:
            self._schedule(subscription)

    # Workers

    def claim(self, subscription: DurableSubscription, worker: str) -> Wake:
        """Claim the wake in flight, or a new one. Raises SubscriptionRefused."""
        delivery, now = subscription.delivery, self.clock()
        if subscription.is_paused:
            raise SubscriptionRefused("NO_PENDING_WORK", "an operator has paused the subscription")
        wake = delivery.wake
        if wake is not None and wake.holder is not None and now < (wake.lease_until or 0.0):
            raise SubscriptionRefused(
                "ALREADY_CLAIMED",
                "another worker has the lease",
                current_holder=wake.holder,
                generation=delivery.generation,
            )
        if wake is not None and (wake.holder is not None or not subscription.pending):
            self.end(subscription)
            wake = None
        if not subscription.pending:
            raise SubscriptionRefused("NO_PENDING_WORK", "all events are acknowledged")
        if wake is None:
            delivery.next_attempt_at = None
            wake = self._begin(subscription)
        wake.holder = worker
        self._lease(subscription, wake)
        self.counts["claimed"] += 1
        return wake

    def check(
        self, subscription: DurableSubscription, generation: int, request: Acknowledgement
    ) -> Wake:
        """Return the wake that a request is for. Raises SubscriptionRefused for another one.

        `generation` is that of its token.
        """
        delivery = subscription.delivery
        wake = delivery.wake
        if (
            wake is None
            or type(request.generation) is not int
            or not generation == request.generation == delivery.generation
            or request.wake_id != wake.wake_id
            or _has_ended(subscription, wake, self.clock())
        ):
            self.counts["fenced"] += 1
            raise SubscriptionRefused("FENCED", "the wake is over, or another one is in force")
        return wake

    def acknowledge(
        self, subscription: DurableSubscription, request: Acknowledgement, wake: Wake
    ) -> bool:
        """Move cursors, and end or extend the lease; return whether another wake has begun.

        Raises SubscriptionRefused for an offset that is not valid, and then moves nothing.
        """
        moves = [acknowledgements.move_of(subscription, *ack) for ack in request.acks]
        has_moved = self.move(subscription, moves)
        if request.is_done:
            return self.release(subscription, has_moved=has_moved)
        self._lease(subscription, wake)
        return False

    def release(self, subscription: DurableSubscription, *, has_moved: bool = True) -> bool:
        """End a wake; return whether another one follows, for what is still pending.

        A receiver that is done without having acknowledged anything is woken behind a pause: it
        could go on so for ever.
        """
        self.end(subscription)
        if has_moved or not subscription.pending or not subscription.is_webhook:
            return self.consider(subscription)
        self.retry_later(subscription, UNACKNOWLEDGED)
        return True

    # Deliveries

    def start_lease(self, subscription: DurableSubscription, wake: Wake) -> None:
        """Begin the lease of a webhook whose receiver has accepted the wake."""
        self.counts["delivered"] += 1
        subscription.delivery.next_attempt_at = None
        self._lease(subscription, wake)

    def acknowledge_all(
        self, subscription: DurableSubscription, ends: Mapping[str, SnapshotEnd]
    ) -> None:
        """Acknowledge what was in a wake, as its receiver is done."""
        self.counts["delivered"] += 1
        moves = acknowledgements.moves_to(subscription, ends)
        self.release(subscription, has_moved=self.move(subscription, moves))

    def note_announcement(self, subscription: DurableSubscription, wake: Wake) -> None:
        """Note that the event of a wake was written, and when to write it again."""
        self.counts["delivered"] += 1
        wake.announced_at = self.clock()
        wake.announcements += 1
        subscription.delivery.succeed()
        self.rows.mark(subscription)
        self._schedule(subscription)

    def retry_later(self, subscription: DurableSubscription, reason: str) -> None:
        """Try again later, less and less often, and never give up.

        A wake that has a lease by now has reached its worker in spite of the failure.
        """
        delivery, now = subscription.delivery, self.clock()
        if delivery.wake is not None and delivery.wake.lease_until is not None:
            self._schedule(subscription)
            return
        if delivery.last_error != reason:
            log.warning("subscription.failed", subscription=subscription.id, reason=reason)
        self.counts["failed"] += 1
        delivery.note_failure(reason, now)
        chance = random.random()  # noqa: S311 - spread
        pause = pause_s(delivery.failures, delivery.failing_s(now), chance)
        delivery.next_attempt_at = now + pause
        self.rows.mark(subscription)
        self._schedule(subscription)

    def retry_now(self, subscription: DurableSubscription) -> None:
        """Try at once what waits behind a failure, or write an unclaimed wake again."""
        delivery = subscription.delivery
        if subscription.is_paused:
            return
        wake = delivery.wake
        self.counts["retried"] += delivery.next_attempt_at is not None
        delivery.next_attempt_at = None
        if wake is None:
            self.consider(subscription)
        elif wake.lease_until is None:
            self._deliveries.queue(subscription)

    # The end of a wake

    def move(self, subscription: DurableSubscription, moves: Sequence[CursorChange]) -> bool:
        """Move cursors; return whether any has moved, or whether nothing is pending."""
        has_moved = False
        for link, position, is_closed in moves:
            if link.stream.state is None:
                continue
            if position > link.position or (is_closed and not link.is_closed):
                has_moved = True
                link.acknowledge(max(position, link.position), is_closed=is_closed)
                subscription.note(link)
                self.rows.mark_link(link)
                self.counts["acknowledged"] += 1
        has_moved = has_moved or not subscription.pending
        if has_moved:
            subscription.delivery.succeed()
        return has_moved

    def _lease(self, subscription: DurableSubscription, wake: Wake) -> None:
        wake.lease_until = self.clock() + subscription.configuration.lease_s
        self.rows.mark(subscription)
        self._schedule(subscription)

    def end(self, subscription: DurableSubscription) -> None:
        """End the wake in flight, if there is one; whatever comes of it is refused.

        The caller considers the subscription then, or lets it wait for a deadline: more
        data in a stream that is pending already does not.
        """
        delivery = subscription.delivery
        if delivery.wake is not None and _is_all_acknowledged(subscription):
            delivery.waiting_since = delivery.wake.begun_at  # what is pending came later
        delivery.wake = None
        subscription.snapshot_ends = {}
        self.rows.mark(subscription)

    # Deadlines

    def _schedule(self, subscription: DurableSubscription) -> None:
        self.timer.schedule(subscription, next_deadline(subscription))

    def _on_clock_set_back(self, subscription: DurableSubscription) -> None:
        """Shorten what a subscription waits for, because the clock was set back."""
        shorten_waits(subscription, self.clock())
        self.rows.mark(subscription)
        self._schedule(subscription)

    def _on_due(self, subscription: DurableSubscription) -> None:
        """Act on a subscription's deadline, which is over."""
        delivery, now = subscription.delivery, self.clock()
        wake = delivery.wake
        if wake is not None and wake.lease_until is not None:
            if self._deliveries.is_under_way(subscription):
                return  # the end of the delivery begins another lease, or ends the wake
            self.counts["expired"] += 1
            self.end(subscription)
            if subscription.is_webhook:
                self.retry_later(subscription, UNACKNOWLEDGED)
            else:
                self.consider(subscription)
        elif subscription.is_paused:
            return  # until it is resumed
        elif delivery.next_attempt_at is not None and delivery.next_attempt_at <= now:
            self.retry_now(subscription)
        elif wake is not None:
            (self._deliveries.queue if subscription.pending else self.end)(subscription)


def _is_all_acknowledged(subscription: DurableSubscription) -> bool:
    """Return whether everything in the wake is acknowledged, and other work is pending."""
    ends, links = subscription.snapshot_ends, subscription.links
    return bool(ends and subscription.pending) and all(
        path not in links or links[path].position >= end.tail for path, end in ends.items()
    )


def _has_ended(subscription: DurableSubscription, wake: Wake, now: float) -> bool:
    """Return whether a wake has no lease any more, perhaps before the timer has acted on it."""
    if wake.lease_until is None:
        return not subscription.is_webhook  # no worker has claimed it
    return now >= wake.lease_until
