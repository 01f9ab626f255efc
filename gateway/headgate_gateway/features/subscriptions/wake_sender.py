"""The sender of wakes: webhooks are called, and events are written to wake streams."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec

from headgate_gateway.errors import ContentTypeMismatch, HeadgateError, StreamNotFound
from headgate_gateway.features.subscriptions.bodies import take_snapshot
from headgate_gateway.features.subscriptions.delivery.receivers import DeliveryFailed
from headgate_gateway.features.subscriptions.errors import NO_PUBLIC_URL
from headgate_gateway.features.subscriptions.wakes.acknowledgements import token_for
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.features.subscriptions.delivery.keys import KeyRing
    from headgate_gateway.features.subscriptions.delivery.receivers import WebhookClient
    from headgate_gateway.features.subscriptions.state.delivery_state import Wake
    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
    from headgate_gateway.features.subscriptions.streams import RouteStreams
    from headgate_gateway.features.subscriptions.wakes.transitions import Wakes

FAULT = "a fault of Headgate ended the delivery; its log has it, with a traceback"


class WakeSender:
    """The sender of one route's wakes, which are signed with its key."""

    def __init__(
        self,
        wakes: Wakes,
        streams: RouteStreams,
        keys: KeyRing,
        client: WebhookClient,
        public_url: Callable[[str], str | None],
        why_no_wake: Callable[[DurableSubscription], str | None],
    ) -> None:
        """`why_no_wake` returns why an owner may not do what its subscription does, or None.

        `public_url` returns the URL of a control path below the prefix, or None.
        """
        self.client = client
        self._wakes = wakes
        self._streams = streams
        self._keys = keys
        self._public_url = public_url
        self._why_no_wake = why_no_wake

    async def deliver(self, subscription: DurableSubscription) -> None:
        """Deliver the wake in flight; have a delivery that fails repeated later."""
        try:
            await self._deliver(subscription)
        except (HeadgateError, DeliveryFailed) as failure:
            self._wakes.retry_later(subscription, failure.detail)
        except Exception:  # noqa: BLE001 - the subscription must go on
            log.exception("subscription.delivery_failed", subscription=subscription.id)
            self._wakes.retry_later(subscription, FAULT)

    async def _deliver(self, subscription: DurableSubscription) -> None:
        """Deliver the wake in flight, once its generation is durable."""
        await self._wakes.rows.flush()
        wake = subscription.delivery.wake
        if wake is None or wake.holder is not None or not subscription.may_send:
            return
        if not subscription.pending:  # what was pending was deleted meanwhile
            self._wakes.release(subscription)
            return
        if (why := self._why_no_wake(subscription)) is not None:
            raise DeliveryFailed(why)
        if subscription.is_webhook:
            await self._call(subscription, wake)
        else:
            await self._announce(subscription, wake)

    async def _announce(self, subscription: DurableSubscription, wake: Wake) -> None:
        """Write the event of a wake to its wake stream."""
        stream = subscription.configuration.wake_stream
        pending = next(iter(subscription.pending))
        assert stream is not None, "a pull-wake subscription has one"
        event = {
            "type": "wake",
            "subscription_id": subscription.id,
            "stream": pending,
            "generation": subscription.delivery.generation,
            "ts": int(self._wakes.clock() * 1000),
        }
        try:
            await self._streams.append(stream, msgspec.json.encode(event))
        except HeadgateError as error:
            raise DeliveryFailed(
                f"the wake stream {stream} cannot be written: {error.detail}{_advice(error)}"
            ) from None
        if subscription.delivery.wake is wake and wake.holder is None:
            self._wakes.note_announcement(subscription, wake)

    async def _call(self, subscription: DurableSubscription, wake: Wake) -> None:
        """Send a wake to its receiver, and begin its lease, or end it. Raises DeliveryFailed."""
        url = subscription.configuration.webhook_url
        callback_url = self._public_url(f"subscriptions/{quote(subscription.id, safe='')}/callback")
        if url is None or callback_url is None:
            raise DeliveryFailed(NO_PUBLIC_URL)
        await self._keys.prepare(self._wakes.clock())
        taken, now = take_snapshot(subscription, self._wakes.counts), self._wakes.clock()
        document = {
            "subscription_id": subscription.id,
            "wake_id": wake.wake_id,
            "generation": subscription.delivery.generation,
            **taken.members,
            "callback_url": callback_url,
            "callback_token": token_for(self._keys, subscription, now),
        }
        body = msgspec.json.encode(document)
        signature = self._keys.signature(body, self._wakes.clock())
        response = await self.client.post(url, body, {"Webhook-Signature": signature})
        response.check()
        if subscription.delivery.wake is not wake or subscription.phase != "active":
            return  # it has called back meanwhile
        if response.is_done:
            self._wakes.acknowledge_all(subscription, taken.ends)
        else:
            self._wakes.start_lease(subscription, wake)


def receiver_of(subscription: DurableSubscription) -> str:
    """Return the host and port of a webhook; "" for a wake stream."""
    url = subscription.configuration.webhook_url
    return "" if url is None else urlsplit(url).netloc


def _advice(error: HeadgateError) -> str:
    """Return what to do about a wake stream that takes no events, after a semicolon."""
    if isinstance(error, StreamNotFound):
        return "; create it with Content-Type: application/json"
    if isinstance(error, ContentTypeMismatch):
        return "; delete it, and create it with Content-Type: application/json"
    return ""
