"""The calls of a route's receivers: wakes with the token of a callback, and tests by operators."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.errors import HeadgateError
from gateway.features.questions.subscriptions import ReceiverTestResult
from gateway.features.subscriptions.errors import NO_PUBLIC_URL
from gateway.features.subscriptions.sending.failures import DeliveryFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.features.subscriptions.bodies import WakeSnapshot
    from gateway.features.subscriptions.sending.signing import KeyRing
    from gateway.features.subscriptions.sending.webhooks import WebhookClient
    from gateway.features.subscriptions.state.delivery_state import Wake
    from gateway.features.subscriptions.state.subscription import DurableSubscription


class CallTarget(NamedTuple):
    """The URL of a receiver, the one where it calls back, and the time of the call."""

    url: str
    callback_url: str
    now: float


class ReceiverCalls:
    """The calls of the receivers of one route, which are signed with its key."""

    def __init__(
        self,
        client: WebhookClient,
        keys: KeyRing,
        public_url: Callable[[str], str | None],
        clock: Callable[[], float],
    ) -> None:
        """`public_url` returns the URL of a control path below the prefix, or None."""
        self.client = client
        self.keys = keys
        self._public_url = public_url
        self._clock = clock

    async def prepare(self, subscription: DurableSubscription) -> CallTarget:
        """Return where to call, with the keys ready. Raises DeliveryFailed, LogUnavailable."""
        url = subscription.configuration.webhook_url
        callback_url = self._public_url(f"subscriptions/{quote(subscription.id, safe='')}/callback")
        if url is None or callback_url is None:
            raise DeliveryFailed(NO_PUBLIC_URL)
        now = self._clock()
        await self.keys.prepare(now)
        return CallTarget(url, callback_url, now)

    async def send_wake(
        self,
        target: CallTarget,
        subscription: DurableSubscription,
        wake: Wake,
        streams: WakeSnapshot,
    ) -> bool:
        """Send a wake; return whether its receiver is done already. Raises DeliveryFailed."""
        document = {
            "subscription_id": subscription.id,
            "wake_id": wake.wake_id,
            "generation": subscription.delivery.generation,
            **streams.members,
            "callback_url": target.callback_url,
            "callback_token": self.keys.token(subscription, target.now),
        }
        return await self.client.call(target.url, msgspec.json.encode(document), target.now)

    async def test(self, subscription: DurableSubscription) -> ReceiverTestResult:
        """Send a test to the receiver of a webhook, at once; return its answer.

        The test is no wake: it has no valid token, and its answer moves no cursor.
        """
        begun = asyncio.get_running_loop().time()
        status: int | None = None
        try:
            target = await self.prepare(subscription)
            body = msgspec.json.encode(
                {
                    "test": True,
                    "message": "An operator tests this receiver. Nothing is pending.",
                    "subscription_id": subscription.id,
                    "wake_id": f"test_{secrets.token_urlsafe(12)}",
                    "generation": 0,
                    "streams": [],
                    "callback_url": target.callback_url,
                    "callback_token": "",
                }
            )
            response = await self.client.send(target.url, body, target.now)
            status, reason = response.status, response.refusal
        except (HeadgateError, DeliveryFailed) as failure:
            reason = failure.detail
        seconds = asyncio.get_running_loop().time() - begun
        return ReceiverTestResult(reason is None, status, round(seconds, 4), reason)
