"""The subscriptions of one route: what the route, its streams and its handlers use of them.

Pending work is derived from the tails of streams and the cursors, so an append itself is the record
of the wake that follows it. After a crash, `open` compares all tails with all cursors.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions import metrics
from headgate_gateway.features.subscriptions.delivery.keys import KeyRing
from headgate_gateway.features.subscriptions.delivery.queue import DeliveryQueue
from headgate_gateway.features.subscriptions.delivery.receivers import WebhookClient
from headgate_gateway.features.subscriptions.membership import Membership
from headgate_gateway.features.subscriptions.rows import SubscriptionRows
from headgate_gateway.features.subscriptions.state.owners import needs_of
from headgate_gateway.features.subscriptions.wake_sender import WakeSender, receiver_of
from headgate_gateway.features.subscriptions.wakes.transitions import Wakes
from headgate_gateway.protocol.http.paths import RESERVED
from headgate_gateway.settings.reached import callback_base, may_call_loopback
from headgate_gateway.settings.reading.values import Secret
from headgate_gateway.telemetry.health import Cause
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.features.subscriptions.rows import LoadedSubscription
    from headgate_gateway.features.subscriptions.state.owners import OwnerAccess
    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
    from headgate_gateway.features.subscriptions.streams import RouteStreams
    from headgate_gateway.protocol.streams.state import Change
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Sample


NO_PROXY = Secret("")


class SubscriptionRules(NamedTuple):
    """The settings for subscriptions. `base_url` is where clients reach the listener, or ""."""

    base_url: str = ""
    webhook_loopback: bool = False
    max_per_client: int = 1_000
    outgoing_proxy: Secret = NO_PROXY  # of webhooks

    @classmethod
    def of(cls, settings: Settings) -> SubscriptionRules:
        """Return the rules by these settings."""
        return cls(
            callback_base(settings),
            may_call_loopback(settings),
            settings.subscriptions.max_per_client,
            settings.outbound.proxy,
        )


class RouteSubscriptions:
    """The subscriptions of one route."""

    def __init__(
        self,
        prefix: str,
        streams: RouteStreams,
        documents: Documents,
        rules: SubscriptionRules,
        clock: Callable[[], float],
        rights: OwnerAccess,
    ) -> None:
        self.prefix = prefix
        self.streams = streams
        self.rules = rules
        self.clock = clock
        self.rights = rights
        self.by_id: dict[str, DurableSubscription] = {}
        self.accounts: Counter[str] = Counter()  # subscriptions by account
        self.keys = KeyRing(documents)
        self.rows = SubscriptionRows(documents)
        client = WebhookClient(loopback=rules.webhook_loopback, proxy=rules.outgoing_proxy.reveal())
        self.deliveries: DeliveryQueue[DurableSubscription] = DeliveryQueue(
            lambda it: self.sender.deliver(it), receiver_of
        )
        self.wakes = Wakes(self.rows, clock, self.deliveries)
        self.sender = WakeSender(self.wakes, streams, self.keys, client, self.url, self.why_no_wake)
        self.membership = Membership(
            self.rows.remove_link,
            self.wakes.consider,
        )
        self.wake_streams: dict[str, dict[DurableSubscription, None]] = {}
        self.changing = asyncio.Lock()  # held while subscriptions or links are added or removed

    def renew(self, rules: SubscriptionRules) -> None:
        """Follow new settings."""
        self.rules = rules
        self.sender.client.renew(
            loopback=rules.webhook_loopback, proxy=rules.outgoing_proxy.reveal()
        )

    def url(self, path: str) -> str | None:
        """Return the public URL of a control path; None if no setting has the server's address."""
        base = self.rules.base_url
        return f"{base}{self.prefix}/{RESERVED}/{path}" if base else None

    async def refresh(self, names: Iterable[str]) -> None:
        """Read the state of these streams again, if other processes may have changed them."""

    async def settle(self) -> None:
        """Wait for changes that are on their way from other processes."""

    def why_no_wake(self, subscription: DurableSubscription) -> str | None:
        """Return why the owner may not read what matches, or append wakes; None if it may."""
        needs = needs_of(subscription.configuration, self.prefix)
        return self.rights.why_not(subscription.owner, needs, self.clock())

    # What changes

    def on_change(self, change: Change) -> None:
        """Take a committed change of a stream; called before its client gets the answer."""
        try:
            for link in self.membership.on_change(change):
                if link.subscription.phase == "linking":
                    self.rows.mark_link(link)
            path = change.state.path
            if change.expected is None and path in self.wake_streams:
                for subscription in self.wake_streams[path]:
                    self.wakes.retry_now(subscription)
        except Exception:  # noqa: BLE001 - the change is committed all the same
            log.exception("subscription.change_missed", path=change.state.path)

    def add(self, subscription: DurableSubscription) -> None:
        """Add a subscription; it receives changes once the streams are observed."""
        self.by_id[subscription.id] = subscription
        self.accounts[subscription.account] += 1
        self.membership.add(subscription)
        if (path := subscription.configuration.wake_stream) is not None:
            self.wake_streams.setdefault(path, {})[subscription] = None

    def discard(self, subscription: DurableSubscription) -> None:
        """Drop a subscription with its links and its rows."""
        subscription.phase = "removed"
        del self.by_id[subscription.id]
        self.accounts -= Counter([subscription.account])
        if (path := subscription.configuration.wake_stream) is not None:
            self.wake_streams[path].pop(subscription, None)
            if not self.wake_streams[path]:
                del self.wake_streams[path]
        if not self.by_id:
            self.streams.observe(None)
        self.rows.remove(subscription)
        self.membership.remove(subscription)

    # As a part of the route

    async def open(self) -> None:
        """Load the subscriptions, and wake those with pending work. Raises LogUnavailable."""
        await self.restore(await self.rows.read())
        if self.by_id:
            await self.keys.prepare(self.clock())
            await self.find_changes()

    async def wait_until_open(self) -> None:
        """Wait until requests can be carried out. Raises LogUnavailable."""

    async def restore(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Take the stored subscriptions, and have streams observed if there are any."""
        self.rights.bans.on_lifted[self] = partial(_go_on, self)
        loaded = await self.streams.turns.run(self.rows.decode(rows))
        await self.streams.turns.run(_restore(self, loaded.values()))
        if self.by_id:
            self.streams.observe(self.on_change)

    async def find_changes(self) -> None:
        """Compare all streams with the cursors, and go on with the stored wakes.

        Raises LogUnavailable.
        """
        await self.link_all()
        await self.streams.turns.run(_resume_wakes(self))

    async def link_all(self) -> None:
        """Link all streams of the log that match; those without a cursor begin at their beginning.

        Raises LogUnavailable.
        """
        with self.membership.watching_removals():
            async for state in self.streams.states(""):
                self.membership.match_all(self.membership.find_candidates(state), state)

    def stuck(self) -> Cause | None:
        """Return how many subscriptions have failed for over a day, or None for none."""
        now = self.clock()
        number = sum(metrics.status_of(it, now) == "stuck" for it in self.by_id.values())
        return Cause("stuck", {"count": number}) if number else None

    def samples(self) -> Iterator[Sample]:
        """Yield the metrics."""
        counted = self.membership, self.deliveries, self.wakes.counts
        return metrics.samples(self.prefix, self.by_id.values(), self.clock(), *counted)

    async def close(self) -> None:
        """End deliveries, and write what is marked."""
        self.rights.bans.on_lifted.pop(self, None)
        self.streams.observe(None)
        self.wakes.close()
        await self.deliveries.close()
        await self.sender.client.close()
        await self.rows.settle()


def _restore(
    engine: RouteSubscriptions, found: Iterable[LoadedSubscription]
) -> Generator[None, None, None]:
    """Take subscriptions and links as they are stored, step by step."""
    for loaded in found:
        subscription = loaded.subscription
        assert subscription is not None, "others are left out"
        engine.rights.watch(subscription.owner, engine.clock())
        engine.add(subscription)
        for path, row in loaded.cursors.items():
            link = engine.membership.link(subscription, path)
            link.restore(row)
            yield
        yield


def _resume_wakes(engine: RouteSubscriptions) -> Generator[None, None, None]:
    """Go on with the wakes of all subscriptions, step by step."""
    for subscription in list(engine.by_id.values()):
        for link in list(subscription.links.values()):
            if not link.is_explicit and link.stream.state is None:
                engine.membership.drop(link)  # the stream was removed meanwhile
            yield
        if engine.by_id.get(subscription.id) is subscription:
            subscription.phase = "active"
            engine.wakes.restore(subscription)
        yield


def _go_on(engine: RouteSubscriptions, accounts: AbstractSet[str]) -> None:
    """Go on with the subscriptions of principals whose bans have ended."""
    for subscription in list(engine.by_id.values()):
        is_waiting = subscription.delivery.next_attempt_at is not None
        if is_waiting and subscription.account in accounts:
            engine.wakes.retry_now(subscription)


PATIENCE_S = 10.0  # that a request waits
AGAIN_S = 1.0  # between two attempts, while the log cannot be read


class SoleLogSubscriptions(RouteSubscriptions):
    """The subscriptions of one route.

    A start waits for their rows; requests wait until all streams are compared. Streams may change
    meanwhile: what has changed before they are observed is in the list of them.
    """

    _opening: asyncio.Task[None] | None = None

    @override
    async def open(self) -> None:
        rows = await self.rows.read()
        self._opening = asyncio.get_running_loop().create_task(self._open(rows))

    async def _open(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Open, and try again while the log cannot be read."""
        try:
            await self.restore(rows)
        except Exception:  # streams are served all the same
            log.exception("subscription.not_opened", route=self.prefix)
            raise
        is_logged = False
        while self.by_id:
            try:
                await self.keys.prepare(self.clock())
                await self.find_changes()
            except LogUnavailable:
                await asyncio.sleep(AGAIN_S)
            except Exception:  # noqa: BLE001 - streams are served all the same
                if not is_logged:
                    log.exception("subscription.not_opened", route=self.prefix)
                is_logged = True
                await asyncio.sleep(AGAIN_S)
            else:
                return

    @override
    async def wait_until_open(self) -> None:
        opening = self._opening
        if opening is None:
            return
        if not opening.done():
            await asyncio.wait({opening}, timeout=PATIENCE_S)
        if not opening.done():
            raise LogUnavailable("the subscriptions are still being compared with the streams")
        if opening.cancelled() or opening.exception() is not None:
            raise LogUnavailable("the subscriptions could not be loaded: see the log of Headgate")

    @override
    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await super().close()
