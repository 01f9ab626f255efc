"""The deliveries of wakes: webhooks are called, and events are written to wake streams.

One delivery of a subscription is under way at once, a few to one receiver, and some hundred in all:
a slow receiver delays its own subscriptions only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

from gateway.errors import ContentTypeMismatch, HeadgateError, StreamNotFound
from gateway.features.subscriptions.bodies import take_snapshot
from gateway.features.subscriptions.sending.failures import DeliveryFailed
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.features.questions.subscriptions import ReceiverTestResult
    from gateway.features.subscriptions.sending.receiver_calls import ReceiverCalls
    from gateway.features.subscriptions.state.delivery_state import Wake
    from gateway.features.subscriptions.state.subscription import DurableSubscription
    from gateway.features.subscriptions.storage.rows import SubscriptionRows
    from gateway.features.subscriptions.streams import StreamSource
    from gateway.features.subscriptions.wakes.transitions import Wakes

AT_ONCE = 256  # deliveries, each with a socket and a body of 1 MiB at most
AT_ONCE_TO_ONE = 8  # deliveries to one receiver: a slow one holds so many for ten seconds
FAULT = "a fault of Headgate ended the delivery; its log has it, with a traceback"
NO_EVENTS = "the setting mcp_events of the route is off; set it, or delete the subscription"


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
        calls: ReceiverCalls,
        streams: StreamSource,
        why_no_wake: Callable[[DurableSubscription], str | None],
        clock: Callable[[], float],
    ) -> None:
        """`why_no_wake` returns why an owner may not do what its subscription does, or None."""
        self._rows = rows
        self.calls = calls
        self.client = calls.client
        self._streams = streams
        self._why_no_wake = why_no_wake
        self._clock = clock
        self._wakes: Wakes
        self._ready: deque[DurableSubscription] = deque()
        self._held: dict[str, deque[DurableSubscription]] = {}  # by receiver, while it has enough
        self._to_one: Counter[str] = Counter()
        self._wanted: set[DurableSubscription] = set()  # those whose wakes wait for a delivery
        self._under_way: set[DurableSubscription] = set()
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
        if subscription not in self._wanted:
            self._wanted.add(subscription)
            if subscription not in self._under_way:
                self._ready.append(subscription)
                self._start_some()

    def is_under_way(self, subscription: DurableSubscription) -> bool:
        """Return whether a wake of a subscription is being delivered."""
        return subscription in self._under_way

    def _start_some(self) -> None:
        while self._is_open and self._ready and len(self._tasks) < AT_ONCE:
            subscription = self._ready.popleft()
            receiver = _receiver(subscription)
            if receiver and self._to_one[receiver] >= AT_ONCE_TO_ONE:
                self._held.setdefault(receiver, deque()).append(subscription)
                continue
            self._to_one[receiver] += 1
            self._under_way.add(subscription)
            task = asyncio.create_task(self._run(subscription, receiver))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._start_some())

    async def _run(self, subscription: DurableSubscription, receiver: str) -> None:
        self._wanted.discard(subscription)
        try:
            await self._deliver(subscription)
        except HeadgateError as error:
            self._wakes.retry_later(subscription, error.detail)
        except DeliveryFailed as failure:
            self._wakes.retry_later(subscription, failure.detail, failure.category)
        except Exception:  # noqa: BLE001 - the subscription must go on
            log.exception("subscription.delivery_failed", subscription=subscription.id)
            self._wakes.retry_later(subscription, FAULT)
        finally:
            self._under_way.discard(subscription)
            self._leave(receiver)
            if subscription in self._wanted:
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
        if (why := self._why_no_wake(subscription)) is not None:
            raise DeliveryFailed(why)
        if subscription.is_webhook:
            await self._call(subscription, wake)
        else:
            await self._announce(subscription, wake)

    async def _send_events(self, subscription: DurableSubscription, wake: Wake) -> None:
        if self.events is None:
            raise DeliveryFailed(NO_EVENTS)
        await self.calls.keys.prepare(self._clock())
        await self.events.send(subscription)
        if subscription.delivery.wake is wake and subscription.phase == "active":
            self._wakes.counts["delivered"] += 1
            self._wakes.release(subscription)

    async def _call(self, subscription: DurableSubscription, wake: Wake) -> None:
        """Send a wake to its receiver, and begin its lease, or end it."""
        target = await self.calls.prepare(subscription)
        taken = take_snapshot(subscription, self._wakes.counts)
        is_done = await self.calls.send_wake(target, subscription, wake, taken)
        if subscription.delivery.wake is not wake or subscription.phase != "active":
            return  # it has called back meanwhile
        if is_done:
            self._wakes.acknowledge_all(subscription, taken.ends)
        else:
            self._wakes.start_lease(subscription, wake)

    async def test(self, subscription: DurableSubscription) -> ReceiverTestResult:
        """Send a test to the receiver of a webhook, at once; return its answer."""
        self._wakes.counts["tested"] += 1
        return await self.calls.test(subscription)

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
                f"the wake stream {stream} cannot be written: {error.detail}{_advice(error)}"
            ) from None
        if subscription.delivery.wake is wake and wake.holder is None:
            self._wakes.note_announcement(subscription, wake)

    async def close(self) -> None:
        """Cancel what is under way, and close the connections."""
        self._is_open = False
        tasks = list(self._tasks)
        self._ready.clear()
        self._held.clear()
        self._wanted.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.close()


def _receiver(subscription: DurableSubscription) -> str:
    """Return the host and port of a webhook; "" for a wake stream."""
    url = subscription.configuration.webhook_url
    return "" if url is None else urlsplit(url).netloc


def _advice(error: HeadgateError) -> str:
    """Return what to do about a wake stream that takes no events, behind a semicolon."""
    if isinstance(error, StreamNotFound):
        return "; create it with Content-Type: application/json"
    if isinstance(error, ContentTypeMismatch):
        return "; delete it, and create it with Content-Type: application/json"
    return ""
