"""The subscriptions of hosts of MCP: made, renewed and ended by what they are for."""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.errors import DestinationRefused
from gateway.features.delivery.receivers import UNREACHABLE
from gateway.features.mcp import rpc
from gateway.features.mcp.rpc import RpcError
from gateway.features.mcp.sender import EventReceiver, secret_of
from gateway.features.subscriptions.bodies import timestamp
from gateway.features.subscriptions.errors import SubscriptionRefused
from gateway.features.subscriptions.requests import SubscriptionRequests
from gateway.features.subscriptions.state.configuration import (
    DEFAULT_LEASE_MS,
    HOST_PREFIX,
    SubscriptionConfiguration,
)
from gateway.features.subscriptions.state.delivery_state import RenewalState
from gateway.runtime.quotas import ClientRate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.reading import EventPlace, EventReader
    from gateway.features.mcp.sender import WebhookEvents
    from gateway.features.subscriptions.engine import RouteSubscriptions
    from gateway.features.subscriptions.state.owners import SubscriptionOwner
    from gateway.features.subscriptions.state.subscription import DurableSubscription

DAY_S = 86_400.0
LEAST_TTL_S, USUAL_TTL_S, LONGEST_TTL_S = 60.0, 7 * DAY_S, 30 * DAY_S
FORMER_SECRET_S = 3_600.0  # for how long a secret that was replaced signs as well
LONGEST_URL = 2_048
# Challenges to one host: a subscriber could have another server called otherwise.
CHALLENGES, CHALLENGES_S = 10, 60.0


class EventTarget(NamedTuple):
    """The key of a subscription: what it is for, who has it, and where its events go."""

    owner: SubscriptionOwner
    event: EventType
    stream: str | None
    url: str

    @property
    def subscription_id(self) -> str:
        """The id, which depends on the key alone."""
        key = [self.owner.account, self.url, self.event.name, self.stream]
        digest = hashlib.sha256(msgspec.json.encode(key)).hexdigest()
        return f"{HOST_PREFIX}{digest[:32]}"

    @property
    def configuration(self) -> SubscriptionConfiguration:
        """The configuration of the subscription."""
        pattern = self.event.pattern.text if self.stream is None else None
        streams = () if self.stream is None else (self.stream,)
        return SubscriptionConfiguration(
            type="mcp-events",
            pattern=pattern,
            streams=streams,
            webhook_url=self.url,
            wake_stream=None,
            lease_ttl_ms=DEFAULT_LEASE_MS,
            description=self.event.name,
        )


class HostSubscriptions:
    """The subscriptions of hosts of MCP to one route."""

    def __init__(
        self, engine: RouteSubscriptions, reader: EventReader, sender: WebhookEvents
    ) -> None:
        self.engine = engine
        self._sender = sender
        self._requests = SubscriptionRequests(engine)
        self._reader = reader
        self._challenges = ClientRate(CHALLENGES, CHALLENGES_S, engine.clock)

    async def subscribe(self, target: EventTarget, params: Mapping[str, Any]) -> dict[str, object]:
        """Make a subscription, or renew it. Raises RpcError, HeadgateError."""
        secret = secret_of(_delivery(params).get("secret"))
        cursor = self._reader.checked_cursor(params.get("cursor"))
        expires_at = self._expiry(target.owner, params)
        if cursor is not None and target.stream is None:
            raise RpcError(rpc.INVALID_PARAMS, "events of several streams have no cursor")
        try:
            self.engine.sender.client.check(target.url)
        except DestinationRefused as refusal:
            raise RpcError(rpc.INVALID_PARAMS, f"delivery.url: {refusal.detail}") from None
        await self._requests.prepare_keys()
        await self._verify(target, secret)
        existing = await self._find_renewable(target)
        renewal = self._renewal(target, existing, secret, expires_at)
        place = None if existing is not None else await self._place(target, cursor)
        start = None if place is None else place.position
        try:
            made, _ = await self._requests.put(
                target.subscription_id, target.configuration, target.owner, renewal, start
            )
        except SubscriptionRefused as refused:
            raise _as_rpc_error(refused) from None
        for link in made.links.values() if target.stream is not None else ():
            await self._sender.begin_numbering(link)
        return self._description(made, is_truncated=place is not None and place.is_truncated)

    async def unsubscribe(self, target: EventTarget) -> dict[str, object]:
        """End a subscription. Raises RpcError if there is none."""
        existing = self.engine.by_id.get(target.subscription_id)
        if existing is not None:
            self.engine.discard(existing)
        await self.engine.rows.flush()  # also of one that could not be ended durably before
        if existing is None:
            raise RpcError(rpc.NOT_FOUND, "there is no such subscription", kind="subscription")
        return {}

    async def _find_renewable(self, target: EventTarget) -> DurableSubscription | None:
        """Return the subscription that is to be renewed; one to another pattern ends."""
        existing = self.engine.by_id.get(target.subscription_id)
        if existing is None or existing.events is None:
            return None
        is_same = existing.configuration == target.configuration
        if is_same and existing.events.expires_at > self.engine.clock():
            return existing
        self.engine.discard(existing)
        await self.engine.rows.flush()
        return None

    def _renewal(
        self,
        target: EventTarget,
        existing: DurableSubscription | None,
        secret: bytes,
        expires_at: float,
    ) -> RenewalState:
        """Return the state from now on; a secret that is replaced signs for a while as well."""
        keys, now = self.engine.keys, self.engine.clock()
        renewal = None if existing is None else existing.events
        if renewal is None:
            return RenewalState(target.event.name, (keys.seal(secret),), now, expires_at)
        former = renewal.sealed_secrets[0]
        if compare_digest(keys.unseal(former) or b"", secret):
            return msgspec.structs.replace(renewal, expires_at=expires_at)
        sealed = keys.seal(secret), former
        return RenewalState(target.event.name, sealed, now + FORMER_SECRET_S, expires_at)

    async def _verify(self, target: EventTarget, secret: bytes) -> None:
        """Challenge a receiver that this principal has not had verified so far. Raises RpcError.

        Each stored subscription is the record that its receiver was verified.
        """
        now = self.engine.clock()
        for one in self.engine.by_id.values():
            if (
                one.events is not None
                and one.configuration.webhook_url == target.url
                and one.owner.account == target.owner.account
                and one.events.expires_at > now
            ):
                return
        host = urlsplit(target.url).netloc
        if self._challenges.again_s(host):
            raise RpcError(
                rpc.EXHAUSTED, "too many receivers at this host are new", limit="verifications"
            )
        self._challenges.count(host, 1)
        client, clock = self.engine.sender.client, self.engine.clock
        await EventReceiver(client, clock, target.subscription_id, target.url, [secret]).verify()

    async def _place(self, target: EventTarget, cursor: str | None) -> EventPlace | None:
        """Return where a new subscription begins; None if that is at its tails."""
        if target.stream is None or cursor is None:
            return None
        return await self._reader.place(target.stream, cursor)

    def _expiry(self, owner: SubscriptionOwner, params: Mapping[str, Any]) -> float:
        """Return when a subscription ends: at the latest with its credential. Raises RpcError."""
        ttl_ms = params.get("ttlMs")
        if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int | float | None):
            raise RpcError(rpc.INVALID_PARAMS, "ttlMs is a number of milliseconds, or null")
        ttl_s = USUAL_TTL_S
        if ttl_ms is not None:
            ttl_s = min(max(ttl_ms, 1000 * LEAST_TTL_S), 1000 * LONGEST_TTL_S) / 1000
        elif "ttlMs" in params:
            ttl_s = LONGEST_TTL_S
        assert owner.principal is not None, "webhooks need one"
        return min(self.engine.clock() + ttl_s, owner.principal.until)

    def _description(
        self, subscription: DurableSubscription, *, is_truncated: bool
    ) -> dict[str, object]:
        assert subscription.events is not None, "of a host of MCP"
        delivery = subscription.delivery
        status: dict[str, object] = {"active": True, "lastError": None}
        if delivery.failing_since is not None:
            status["lastError"] = delivery.last_category or UNREACHABLE
            status["failedSince"] = timestamp(delivery.failing_since)
        return {
            "id": subscription.id,
            "refreshBefore": timestamp(subscription.events.expires_at),
            "cursor": self._watermark(subscription),
            "truncated": is_truncated,
            "deliveryStatus": status,
        }

    def _watermark(self, subscription: DurableSubscription) -> str | None:
        """Return the cursor behind all that was accepted; None for several streams."""
        for name in subscription.configuration.streams:
            link = subscription.links[name]
            return self._reader.cursor_at(link.stream.state, link.accepted_position)
        return None


def target_of(
    owner: SubscriptionOwner, event: EventType, stream: str | None, params: Mapping[str, Any]
) -> EventTarget:
    """Return the key of a subscription that a request is about. Raises RpcError."""
    delivery = _delivery(params)
    mode = delivery.get("mode", "webhook")
    if mode != "webhook":
        shown = mode if isinstance(mode, str) else None
        raise RpcError(
            rpc.UNSUPPORTED, "only webhooks are subscribed to", feature="deliveryMode", value=shown
        )
    url = delivery.get("url")
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise RpcError(
            rpc.INVALID_PARAMS, f"delivery.url is a URL of {LONGEST_URL} characters at most"
        )
    return EventTarget(owner, event, stream, url)


def _delivery(params: Mapping[str, Any]) -> dict[str, Any]:
    delivery = params.get("delivery")
    if not isinstance(delivery, dict):
        raise RpcError(rpc.INVALID_PARAMS, "delivery is an object")
    return delivery


def _as_rpc_error(refused: SubscriptionRefused) -> RpcError:
    if refused.code == "LIMIT_REACHED":
        return RpcError(rpc.EXHAUSTED, refused.detail, limit="subscriptions")
    return RpcError(rpc.INVALID_PARAMS, refused.detail)
