"""The subscriptions of a route in a shared log: one gateway at a time has them, by a lease.

Each gateway reports the streams that it changes, and hands requests on to the owner. A take-over is
a start: the new owner loads the documents, and compares all tails with all cursors.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.features.redis.store import NOBODY
from headgate_gateway.features.subscriptions import metrics
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.features.subscriptions.shared.beats import BEAT_S
from headgate_gateway.features.subscriptions.shared.changes import ReportedChanges, TailComparisons
from headgate_gateway.features.subscriptions.shared.lease import SubscriptionsLease
from headgate_gateway.features.subscriptions.shared.owned import OwnedLoader
from headgate_gateway.features.subscriptions.shared.relay import PATIENCE_S, RequestRelay
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.features.subscriptions.engine import SubscriptionRules
    from headgate_gateway.features.subscriptions.shared.owned import OwnedSubscriptions
    from headgate_gateway.features.subscriptions.shared.streams import SharedStreams
    from headgate_gateway.telemetry.health import Cause

# Until all gateways report what they change, and to this one: from their next beat on.
REPORTED_S = 2 * BEAT_S
FIRST_BEAT_S = 1.0  # that a start waits for: a gateway that finds no owner delivers at once


class BeatFailures:
    """The failures of one route's beats. That the log cannot be reached, the log itself reports."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._fault = ""  # the latest one, since a beat has succeeded
        self.reason = ""  # why the log refused the latest beat; empty once one has succeeded

    def succeed(self) -> None:
        """Note that a beat has succeeded."""
        self._fault = self.reason = ""

    def note(self, error: Exception) -> None:
        """Log the fault that is being handled, unless the same goes on."""
        self.reason = error.detail if isinstance(error, HeadgateError) else ""
        if not isinstance(error, HeadgateError) and (fault := repr(error)) != self._fault:
            self._fault = fault
            log.exception("subscription.lease_not_seen", route=self._route)


class SharedSubscriptions(Background):
    """The subscriptions of one route as one of the gateways has them, or hands requests on."""

    def __init__(
        self,
        prefix: str,
        streams: SharedStreams,
        make: Callable[[Documents], OwnedSubscriptions],
    ) -> None:
        """`make` makes the subscriptions of the owner, with the documents that it may write."""
        self.prefix = prefix
        sharing = streams.sharing
        self.lease = SubscriptionsLease(sharing)
        self.relay = RequestRelay(sharing, self.lease)
        self.loader = OwnedLoader(sharing, self.lease, make, self._on_opened)
        self.changed = ReportedChanges(sharing, self.loader, lambda: self.comparisons.schedule())
        self.comparisons = TailComparisons(self.loader, self.changed)
        self._streams = streams
        self._unwatch: Callable[[], None] | None = None
        self._mailboxes = sharing.mailboxes
        self._failures = BeatFailures(prefix)
        self._next_beat = asyncio.Event()  # replaced by each beat
        self._hurry = asyncio.Event()
        self._seen_owner = NOBODY  # by the latest beat

    @property
    def engine(self) -> OwnedSubscriptions | None:
        """The subscriptions, if this gateway is the owner and has opened them."""
        return self.loader.engine

    def renew(self, rules: SubscriptionRules) -> None:
        """Follow new settings."""
        self.loader.renew(rules)

    # As a part of the route

    async def open(self) -> None:
        """Find the owner, and deliver if there is none; the log may be reached later."""
        self._mailboxes.open(
            self.lease.name,
            # Reports may have been lost with a connection.
            lambda it: self.comparisons.schedule() if it is None else self._on_mail(it),
        )
        self._unwatch = self._streams.watch(
            self.changed.on_commit, self.on_history_change, self.on_first_subscription
        )
        for task in (self, self.changed, self.comparisons):
            task.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_BEAT_S):
                while self.engine is None and not self.lease.other_owner:
                    await self._next_beat.wait()

    async def close(self) -> None:
        """End deliveries, and let another gateway take over at once: the lease says so to all."""
        if self._unwatch is not None:
            self._unwatch()
        for task in (self, self.comparisons, self.changed):
            await task.stop()
        await self.relay.close()
        await self.changed.flush()
        await self.loader.close()
        await self.lease.resign()
        self._mailboxes.close(self.lease.name)

    def stuck(self) -> Cause | None:
        """Return how many subscriptions have failed for over a day, as the owner knows."""
        return None if self.engine is None else self.engine.stuck()

    def samples(self) -> Iterator[Sample]:
        """Yield the metrics; those of the subscriptions are the owner's."""
        if self.engine is not None:
            yield from self.engine.samples()
        yield Sample(metrics.OWNER, (self.prefix,), float(self.engine is not None))
        yield Sample(metrics.TAKE_OVERS, (self.prefix,), self.lease.take_overs)
        for way in ("sent", "received"):
            yield Sample(metrics.RELAYED, (self.prefix, way), self.relay.counts[way])
        yield Sample(metrics.COMPARED, (self.prefix, "asked"), self.changed.overflows)
        yield Sample(metrics.COMPARED, (self.prefix, "made"), self.comparisons.made)

    # Requests

    async def confirm_ownership(self, *, reads_lease: bool = False) -> OwnedSubscriptions | None:
        """Return the subscriptions, if this gateway is certainly the owner.

        With `reads_lease` the lease is read after this call has begun: a refusal is then based on a
        lease that was valid after the request arrived.
        """
        engine = self.engine
        if engine is None or (self.lease.is_certain and not reads_lease):
            return engine
        try:  # perhaps it stood still, and others have taken over
            await self.lease.confirm()
        except LogUnavailable:
            return None
        return self.engine

    async def hand_on(
        self, handed: mail.HandedOnRequest
    ) -> mail.HandedOnResponse | OwnedSubscriptions:
        """Return the owner's response, or the subscriptions once this gateway is the owner.

        Waits PATIENCE_S for a take-over. Raises LogUnavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while loop.time() < deadline:
            if (engine := await self.confirm_ownership()) is not None:
                return engine
            next_beat = self._next_beat
            if self.lease.other_owner:
                back = await self.relay.hand_on(self.lease.other_owner, handed, deadline)
                if back.status:
                    return back
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await next_beat.wait()
        raise LogUnavailable(
            self._failures.reason or "no gateway has taken over the subscriptions yet"
        )

    # The lease

    @override
    async def _run(self) -> None:
        while True:
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 - the task must outlive any error
                self._failures.note(error)
            else:
                self._failures.succeed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _beat(self) -> None:
        had_beaten, was_active = self.lease.has_beaten, self.changed.is_active
        stood_still = had_beaten and not self.lease.is_beating
        stopped = await self.lease.beat()
        await self.loader.follow()
        self._set_active()
        is_other = had_beaten and self.lease.owner != self._seen_owner
        self._seen_owner = self.lease.owner
        # Changes were reported to the former owner, or taken as that; or the first subscription was
        # created without this gateway.
        if self.changed.is_active and (is_other or (stood_still and not was_active)):
            self.changed.compare()
        if self.lease.is_ours:
            for other in stopped:
                await self.lease.forget(other)
                self.comparisons.schedule()
        self._notify()

    def _on_opened(self) -> None:
        """Compare once more when all gateways report to this one; requests there wait for this."""
        self.comparisons.schedule(REPORTED_S)
        self._set_active()
        self._notify()

    def _notify(self) -> None:
        """Let those go on that wait for a beat."""
        beat, self._next_beat = self._next_beat, asyncio.Event()
        beat.set()

    def on_history_change(self) -> None:
        """Begin anew with what the log has, which may have lost what it acknowledged."""
        self.loader.outdate()
        self._hurry.set()

    # Reports of changes

    def on_first_subscription(self) -> None:
        """Take changes from now on; the other gateways report theirs from their next beat on.

        They find the document of the keys, which is stored before the first subscription is made.
        """
        if not self.changed.is_active:
            self._set_active()
            self.comparisons.schedule(REPORTED_S)

    def _set_active(self) -> None:
        has_some = self.engine is not None and bool(self.engine.by_id)
        self.changed.is_active = has_some or self.lease.has_documents

    # Mail

    def _on_mail(self, message: bytes) -> None:
        match found := mail.decode(message):
            case mail.ChangeReport():
                self.changed.add(found)
            case mail.ComparisonRequest():
                self.comparisons.schedule()
            case mail.LeaseMessage():
                self._hurry.set()
            case _:
                self.relay.on_mail(found)
