"""The deliveries of wakes: webhooks are called, and events are written to wake streams.

One delivery of a subscription is under way at once, a few to one receiver, and some hundred in all:
a slow receiver delays its own subscriptions only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from gateway.errors import HeadgateError
from gateway.subscriptions.bodies import snapshot
from gateway.subscriptions.sending.webhooks import DeliveryFailed
from gateway.telemetry.inspected.subscriptions import ReceiverTestResult
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.subscriptions.sending.signing import KeyRing
    from gateway.subscriptions.sending.webhooks import WebhookClient
    from gateway.subscriptions.state.delivery_state import Wake
    from gateway.subscriptions.state.subscription import DurableSubscription
    from gateway.subscriptions.storage.rows import SubscriptionRows
    from gateway.subscriptions.streams.contract import StreamSource
    from gateway.subscriptions.wakes.transitions import Wakes

AT_ONCE = 256  # deliveries, each with a socket and a body of 1 MiB at most
AT_ONCE_TO_ONE = 8  # deliveries to one receiver: a slow one holds so many for ten seconds
ACCESS_ENDED = "the credential that subscribed may not do this any more: confirm with another one"


class PublicPlace(Protocol):
    """The place of a route's subscriptions on the network, and the rights of their owners."""

    def url(self, path: str) -> str | None:
        """Return the public URL of a control path below the prefix; None if there is none."""

    def may_wake(self, subscription: DurableSubscription) -> bool:
        """Return whether the owner may still do what its subscription does."""


class _WebhookTarget(NamedTuple):
    url: str
    callback_url: str
    now: float


class EventSender(Protocol):
    """The sender of events to the receivers of hosts of MCP."""

    async def send(self, subscription: DurableSubscription) -> None:
        """Send what is pending, or a part of it, and move the cursors. Raises DeliveryFailed."""


class Deliveries:
    """The deliveries of one route."""

    events: EventSender | None = None  # where the settings say that MCP is spoken

    def __init__(
        self,
        rows: SubscriptionRows,
        keys: KeyRing,
        client: WebhookClient,
        streams: StreamSource,
        place: PublicPlace,
        clock: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._keys = keys
        self.client = client
        self._streams = streams
        self._place = place
        self._clock = clock
        self._wakes: Wakes
        self._ready: deque[DurableSubscription] = deque()
        self._held: dict[str, deque[DurableSubscription]] = {}  # by receiver, while it has enough
        self._to_one: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    def report_to(self, wakes: Wakes) -> None:
        """Report the ends of deliveries to `wakes`."""
        self._wakes = wakes

    @property
    def waiting(self) -> int:
        """The number of wakes whose delivery has not begun."""
        return len(self._ready) + sum(map(len, self._held.values()))

    @property
    def running(self) -> int:
        """The number of deliveries under way."""
        return len(self._tasks)

    def queue(self, subscription: DurableSubscription) -> None:
        """Deliver the wake of a subscription as soon as there is room."""
        if not subscription.wants_delivery:
            subscription.wants_delivery = True
            if not subscription.is_delivering:
                self._ready.append(subscription)
                self._start_some()

    def _start_some(self) -> None:
        while self._is_open and self._ready and len(self._tasks) < AT_ONCE:
            subscription = self._ready.popleft()
            receiver = _receiver(subscription)
            if receiver and self._to_one[receiver] >= AT_ONCE_TO_ONE:
                self._held.setdefault(receiver, deque()).append(subscription)
                continue
            self._to_one[receiver] += 1
            subscription.is_delivering = True
            task = asyncio.create_task(self._run(subscription, receiver))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._start_some())

    async def _run(self, subscription: DurableSubscription, receiver: str) -> None:
        subscription.wants_delivery = False
        try:
            await self._deliver(subscription)
        except HeadgateError as error:
            self._wakes.retry_later(subscription, error.detail)
        except DeliveryFailed as failure:
            self._wakes.retry_later(subscription, failure.reason, failure.category)
        except Exception:  # noqa: BLE001 - the subscription must go on
            log.exception("subscription.delivery_failed", subscription=subscription.id)
            self._wakes.retry_later(subscription, "the delivery failed: see the server's log")
        finally:
            subscription.is_delivering = False
            self._leave(receiver)
            if subscription.wants_delivery:
                self._ready.append(subscription)

    def _leave(self, receiver: str) -> None:
        """Let the next subscription of a receiver have its turn."""
        self._to_one[receiver] -= 1
        if not self._to_one[receiver]:
            del self._to_one[receiver]
        held = self._held.get(receiver)
        if held:
            self._ready.append(held.popleft())
            if not held:
                del self._held[receiver]

    async def _deliver(self, subscription: DurableSubscription) -> None:
        """Deliver the wake in flight, once its generation is durable."""
        await self._rows.flush()
        wake = subscription.delivery.wake
        if wake is None or wake.holder is not None or not subscription.may_send:
            return
        if not subscription.pending:  # what was pending was deleted meanwhile
            self._wakes.release(subscription)
            return
        if subscription.events is not None:
            await self._send_events(subscription, wake)
            return
        if not self._place.may_wake(subscription):
            raise DeliveryFailed(ACCESS_ENDED)
        if subscription.is_webhook:
            await self._call(subscription, wake)
        else:
            await self._announce(subscription, wake)

    async def _send_events(self, subscription: DurableSubscription, wake: Wake) -> None:
        if self.events is None:
            raise DeliveryFailed("mcp_events is off")
        await self._keys.prepare(self._clock())
        await self.events.send(subscription)
        if subscription.delivery.wake is wake and subscription.phase == "active":
            self._wakes.counts["delivered"] += 1
            self._wakes.release(subscription)

    async def _prepare_call(self, subscription: DurableSubscription) -> _WebhookTarget:
        """Return what a call needs, with the keys ready. Raises DeliveryFailed."""
        url = subscription.configuration.webhook_url
        callback_url = self._place.url(f"subscriptions/{quote(subscription.id, safe='')}/callback")
        if url is None or callback_url is None:
            raise DeliveryFailed("webhooks need public_url, which is not set")
        now = self._clock()
        await self._keys.prepare(now)
        return _WebhookTarget(url, callback_url, now)

    async def _call(self, subscription: DurableSubscription, wake: Wake) -> None:
        url, callback_url, now = await self._prepare_call(subscription)
        taken = snapshot(subscription)
        body = msgspec.json.encode(
            {
                "subscription_id": subscription.id,
                "wake_id": wake.wake_id,
                "generation": subscription.delivery.generation,
                **taken.members,
                "callback_url": callback_url,
                "callback_token": self._keys.token(subscription, now),
            }
        )
        self._wakes.counts["partial"] += taken.is_partial
        subscription.snapshot_ends = taken.ends
        is_done = await self.client.call(url, body, now)
        if subscription.delivery.wake is not wake or subscription.phase != "active":
            return  # it has called back meanwhile
        if is_done:
            self._wakes.acknowledge_all(subscription, taken.ends)
        else:
            self._wakes.start_lease(subscription, wake)

    async def test(self, subscription: DurableSubscription) -> ReceiverTestResult:
        """Send a test to the receiver of a webhook, at once; return its answer.

        The test is no wake: it has no valid token, and its answer moves no cursor.
        """
        self._wakes.counts["tested"] += 1
        begun = asyncio.get_running_loop().time()
        status: int | None = None
        try:
            url, callback_url, now = await self._prepare_call(subscription)
            body = msgspec.json.encode(
                {
                    "test": True,
                    "message": "An operator tests this receiver. Nothing is pending.",
                    "subscription_id": subscription.id,
                    "wake_id": f"test_{secrets.token_urlsafe(12)}",
                    "generation": 0,
                    "streams": [],
                    "callback_url": callback_url,
                    "callback_token": "",
                }
            )
            response = await self.client.send(url, body, now)
            status, reason = response.status, response.refusal
        except (HeadgateError, DeliveryFailed) as failure:
            reason = failure.detail if isinstance(failure, HeadgateError) else failure.reason
        seconds = asyncio.get_running_loop().time() - begun
        return ReceiverTestResult(reason is None, status, round(seconds, 4), reason)

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
            "ts": int(self._clock() * 1000),
        }
        try:
            await self._streams.append(stream, msgspec.json.encode(event))
        except HeadgateError as error:
            raise DeliveryFailed(
                f"the wake stream {stream} cannot be written: {error.detail}"
            ) from None
        if subscription.delivery.wake is wake and wake.holder is None:
            self._wakes.note_announcement(subscription, wake)

    async def close(self) -> None:
        """Cancel what is under way, and close the connections."""
        self._is_open = False
        tasks = list(self._tasks)
        self._ready.clear()
        self._held.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.close()


def _receiver(subscription: DurableSubscription) -> str:
    """Return the host and port of a webhook; "" for a wake stream."""
    url = subscription.configuration.webhook_url
    return "" if url is None else urlsplit(url).netloc
