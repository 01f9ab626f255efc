"""The requests to subscriptions: to create, describe and delete them, to link streams, and to work.

Each method carries out one request, and raises SubscriptionRefused or HeadgateError.
"""

from __future__ import annotations

import secrets
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from headgate_gateway.access.principal import account_of
from headgate_gateway.errors import DestinationRefused
from headgate_gateway.features.subscriptions import bodies, membership
from headgate_gateway.features.subscriptions.errors import (
    NO_PUBLIC_URL,
    SubscriptionRefused,
    invalid,
    not_found,
)
from headgate_gateway.features.subscriptions.state.configuration import check_name, json_object
from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
from headgate_gateway.features.subscriptions.wakes.acknowledgements import (
    check_token,
    parse_acknowledgement,
    token_for,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
    from headgate_gateway.features.subscriptions.state.configuration import (
        SubscriptionConfiguration,
    )
    from headgate_gateway.protocol.streams.state import StreamState


# Pending streams that are read again before a claim or an ack, as other gateways may have removed
# them.
MOST_REFRESHED = 100
_CLAIM = frozenset(["worker"])  # the members of a claim
LONGEST_WORKER = 256  # characters of a worker's name, which other workers see


class SubscriptionRequests:
    """The requests to the subscriptions of one route."""

    def __init__(self, engine: RouteSubscriptions) -> None:
        self._engine = engine

    def find(self, subscription_id: str) -> DurableSubscription:
        """Return a subscription. Raises SubscriptionRefused."""
        found = self._engine.by_id.get(subscription_id)
        if found is None or found.phase == "linking":
            raise not_found()
        return found

    async def put(
        self,
        subscription_id: str,
        configuration: SubscriptionConfiguration,
        owner: Principal | None,
    ) -> tuple[DurableSubscription, bool]:
        """Create a subscription, or confirm it; return it, and whether it is new."""
        await self.prepare_keys()
        async with self._engine.changing:
            existing = self._engine.by_id.get(subscription_id)
            if existing is None:
                self._check_new(configuration, owner)
                birth, now = secrets.token_urlsafe(9), self._engine.clock()
                made = DurableSubscription(subscription_id, birth, now, configuration, owner)
                return await self._create(made), True
            is_same = existing.configuration == configuration
            if not is_same or existing.account not in {"", account_of(owner)}:
                raise SubscriptionRefused(
                    "SUBSCRIPTION_ALREADY_EXISTS", "it exists with another configuration or owner"
                )
            self._engine.accounts -= Counter([existing.account])
            self._engine.accounts[account_of(owner)] += 1
            existing.owner = owner
            self._engine.rows.mark_configuration(existing)
            await self._engine.rows.flush()
            if existing.delivery.next_attempt_at is not None:
                self._engine.wakes.retry_now(existing)
            return existing, False

    def _check_new(self, configuration: SubscriptionConfiguration, owner: Principal | None) -> None:
        """Raise SubscriptionRefused for a subscription that must not be."""
        engine = self._engine
        rules = engine.rules
        if configuration.webhook_url is not None:
            if not rules.base_url:
                raise SubscriptionRefused("WEBHOOK_URL_REJECTED", NO_PUBLIC_URL)
            try:
                engine.sender.client.check(configuration.webhook_url)
            except DestinationRefused as refusal:
                raise SubscriptionRefused("WEBHOOK_URL_REJECTED", refusal.detail) from None
        if configuration.wake_stream in configuration.streams:
            raise invalid("a subscription cannot be linked to its own wake stream")
        if engine.accounts[account_of(owner)] >= rules.max_per_client:
            raise _limit_refusal(engine, "max_per_client", rules.max_per_client)
        if len(configuration.streams) > membership.MOST_STREAMS:
            raise _too_many_streams(engine)

    async def _create(self, subscription: DurableSubscription) -> DurableSubscription:
        """Link the existing streams at their tails, and store the subscription last."""
        engine = self._engine
        with engine.membership.watching_removals(subscription):
            await self._link(subscription)
        subscription.phase = "active"
        engine.wakes.consider(subscription)
        return subscription

    async def _link(self, subscription: DurableSubscription) -> None:
        engine = self._engine
        engine.add(subscription)
        engine.streams.observe(engine.on_change)
        try:
            self._check_cycles(subscription)
            await self._link_existing(subscription)
            await self._link_named(subscription, subscription.configuration.streams)
            self._check_cycles(subscription)
            engine.rows.mark(subscription)
            engine.rows.mark_configuration(subscription)
            await engine.rows.flush()
        except BaseException:
            engine.discard(subscription)
            raise

    async def _link_existing(self, subscription: DurableSubscription) -> None:
        """Link the streams that the pattern matches, each at its tail."""
        engine = self._engine
        pattern = subscription.configuration.parsed_pattern
        if pattern is None:
            return
        async for state in engine.streams.states(pattern.beginning):
            if not _is_candidate(engine, subscription, state):
                continue
            known = engine.membership.state_of(state.path) or state
            has_cursor = state.path in subscription.links
            link = engine.membership.match(subscription, state, known.tail)
            if link is not None:
                if not has_cursor:
                    link.acknowledge(link.position, is_closed=known.closed)
                    subscription.note(link)
                engine.rows.mark_link(link)
            elif subscription.unlinked:
                raise _too_many_streams(engine)

    async def _link_named(self, subscription: DurableSubscription, names: Sequence[str]) -> None:
        """Link streams by name, each at its tail, or at the beginning of one that is to come."""
        engine, most = self._engine, membership.MOST_STREAMS
        at_once = engine.streams.read_at_once
        for start in range(0, len(names), at_once):
            some = names[start : start + at_once]
            await engine.refresh(some)
            read = await engine.streams.read(some)
            for name in some:
                if name not in subscription.links and len(subscription.links) >= most:
                    raise _too_many_streams(engine)
                state = engine.membership.state_of(name) or read[name]
                has_cursor = name in subscription.links
                has_cursor = has_cursor or _link_later_stream(engine, subscription, state)
                link = engine.membership.link(subscription, name)
                link.add_name(None if has_cursor else state)
                subscription.note(link)
                engine.rows.mark_link(link)
            await engine.refresh(some)  # what has changed before they were linked

    def _check_cycles(self, subscription: DurableSubscription) -> None:
        """Refuse wake streams that wake each other in a circle. Raises SubscriptionRefused."""
        engine = self._engine
        seen: set[str] = set()
        ahead = [subscription]
        while ahead:
            one = ahead.pop()
            path = one.configuration.wake_stream
            if path is None or path in seen:
                continue
            seen.add(path)
            woken = [it for it in engine.membership.subscriptions_of(path) if it is not one]
            if subscription in woken:
                raise invalid("its wakes would wake it again, through other subscriptions")
            ahead += woken

    async def describe(self, subscription: DurableSubscription) -> bytes:
        """Return the description of a subscription as JSON."""
        signing = None
        if subscription.configuration.type == "webhook":
            await self.prepare_keys()
            signing = {
                "alg": "ed25519",
                "kid": self._engine.keys.key_id(self._engine.clock()),
                "jwks_url": self._engine.url("jwks.json") or "",
            }
        steps = bodies.description(subscription, signing)
        return await self._engine.streams.turns.run(steps)

    async def delete(self, subscription_id: str) -> None:
        """Delete a subscription, if there is one."""
        async with self._engine.changing:
            if (found := self._engine.by_id.get(subscription_id)) is not None:
                self._engine.discard(found)
            await self._engine.rows.flush()  # also of one that could not be deleted durably before

    async def link(self, subscription_id: str, names: Sequence[str]) -> None:
        """Add explicit links."""
        engine = self._engine
        async with engine.changing:
            subscription = self.find(subscription_id)
            if subscription.configuration.wake_stream in names:
                raise invalid("a subscription cannot be linked to its own wake stream")
            before = set(subscription.links)
            try:
                await self._link_named(subscription, names)
                self._check_cycles(subscription)
            except SubscriptionRefused:
                for name in set(names) - before:
                    self._drop(subscription, name)
                raise
            await engine.rows.flush()
            engine.wakes.consider(subscription)

    async def unlink(self, subscription_id: str, name: str) -> None:
        """Remove the explicit link to a stream; one of the pattern stays."""
        name = check_name(name)
        async with self._engine.changing:
            self._drop(self.find(subscription_id), name)
            await self._engine.rows.flush()

    def _drop(self, subscription: DurableSubscription, name: str) -> None:
        """Remove the explicit link to a stream, if there is one."""
        engine = self._engine
        link = subscription.links.get(name)
        if link is None or not link.is_explicit:
            return
        if link.is_glob:
            link.is_explicit = False
            engine.rows.mark_link(link)
        else:
            engine.membership.drop(link)

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys of webhooks."""
        await self.prepare_keys()
        return self._engine.keys.jwks()

    async def prepare_keys(self) -> None:
        """Have the keys ready. Raises LogUnavailable."""
        await self._engine.keys.prepare(self._engine.clock())

    # Work

    async def claim(self, subscription_id: str, body: bytes) -> dict[str, object]:
        """Claim the wake of a pull-wake subscription."""
        subscription = self._find_pull_wake(subscription_id)
        worker = json_object(body, _CLAIM).get("worker")
        if not isinstance(worker, str) or not 0 < len(worker) <= LONGEST_WORKER:
            raise invalid(f"worker must be a name of 1 to {LONGEST_WORKER} characters")
        await self.prepare_keys()
        engine = self._engine
        await engine.refresh(list(islice(subscription.pending, MOST_REFRESHED)))
        if not subscription.pending:
            await engine.settle()
        wake = engine.wakes.claim(subscription, worker)
        taken = bodies.take_snapshot(subscription, engine.wakes.counts)
        claimed = {
            "wake_id": wake.wake_id,
            "generation": subscription.delivery.generation,
            "token": token_for(engine.keys, subscription, engine.clock()),
            **taken.members,
            "lease_ttl_ms": subscription.configuration.lease_ttl_ms,
        }
        await engine.rows.flush()
        return claimed

    async def acknowledge(
        self, subscription_id: str, action: str, token: str | None, body: bytes
    ) -> dict[str, object] | None:
        """Carry out a callback, an ack or a release; return the body of the response, or None."""
        engine = self._engine
        is_callback = action == "callback"
        subscription = (
            self.find(subscription_id) if is_callback else self._find_pull_wake(subscription_id)
        )
        if token is None:
            raise SubscriptionRefused("TOKEN_INVALID", "send Authorization: Bearer TOKEN")
        await self.prepare_keys()
        generation = check_token(engine.keys, token, subscription, engine.clock())
        owner, claimers = subscription.owner, engine.rights.claimers
        worker = owner if subscription.is_webhook else claimers.get(subscription)
        engine.rights.check_worker(worker)
        if is_callback and not subscription.is_webhook:
            raise invalid("the subscription is no webhook")
        request = parse_acknowledgement(body)
        await engine.refresh([*dict(request.acks), *islice(subscription.pending, MOST_REFRESHED)])
        wake = engine.wakes.check(subscription, generation, request)
        if action == "release":
            engine.wakes.release(subscription)
            await engine.rows.flush()
            return None
        has_next = engine.wakes.acknowledge(subscription, request, wake)
        await engine.rows.flush()
        return {"ok": True, "next_wake": has_next}

    def check_known_token(self, subscription_id: str, token: str | None) -> None:
        """Raise SubscriptionRefused, as for a free id, unless the token is of the subscription."""
        subscription = self.find(subscription_id)
        scope = None if token is None else self._engine.keys.scope_of(token)
        if scope is None or scope.birth != subscription.birth:
            raise not_found()

    def _find_pull_wake(self, subscription_id: str) -> DurableSubscription:
        subscription = self.find(subscription_id)
        if subscription.is_webhook:
            raise invalid("the subscription is not pull-wake")
        return subscription


def _is_candidate(
    engine: RouteSubscriptions, subscription: DurableSubscription, state: StreamState
) -> bool:
    """Take a stream that was read; return whether the subscription matches it, and has no link.

    For others that match it, it was created later: another gateway has not reported it yet. One
    that has no room for other streams either is tried at the next change.
    """
    candidates = engine.membership.find_candidates(state)
    others = [
        it
        for it in candidates
        if it is not subscription and it.phase == "active" and not it.unlinked
    ]
    engine.membership.match_all(others, state)
    return subscription in candidates


def _link_later_stream(
    engine: RouteSubscriptions, subscription: DurableSubscription, state: StreamState | None
) -> bool:
    """Link a stream at its beginning if its creation is younger than a pattern that matches it.

    Return whether it was: another gateway created it, and has not reported it yet.
    """
    if state is None or not _is_candidate(engine, subscription, state):
        return False
    is_active = subscription.phase == "active"
    return is_active and engine.membership.match(subscription, state, None) is not None


def _too_many_streams(engine: RouteSubscriptions) -> SubscriptionRefused:
    return _limit_refusal(engine, "max_streams", membership.MOST_STREAMS)


def _limit_refusal(engine: RouteSubscriptions, limit: str, most: int) -> SubscriptionRefused:
    engine.wakes.counts[limit] += 1
    return SubscriptionRefused("LIMIT_REACHED", f"{limit} is {most}", limit=limit)
