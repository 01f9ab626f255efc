"""The sending of events to receivers: in order in each stream, by Standard Webhooks."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

import msgspec

from gateway.features.delivery.receivers import DeliveryFailed
from gateway.features.mcp.rpc import CALLBACK_FAILED, FORBIDDEN, INVALID_PARAMS, NOT_FOUND, RpcError
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.features.subscriptions.state.owners import BANNED
from gateway.features.subscriptions.wakes.acknowledgements import CursorChange
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.protocol.standard_webhooks import SECRET_WORDS, key_in, signed_fields
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.features.delivery.receivers import ReceiverResponse, WebhookClient
    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.reading import EventPage, EventReader, McpEvent
    from gateway.features.subscriptions.engine import RouteSubscriptions
    from gateway.features.subscriptions.state.subscription import DurableSubscription, StreamLink
    from gateway.features.subscriptions.streams import StreamView


SUBSCRIPTION_HEADER = "X-MCP-Subscription-Id"


def secret_of(text: object) -> bytes:
    """Return the secret that a client gives. Raises RpcError, which has nothing of it."""
    try:
        return key_in(text if isinstance(text, str) else "")
    except ValueError:
        raise RpcError(INVALID_PARAMS, f"delivery.secret is {SECRET_WORDS}") from None


def message_id(kind: str) -> str:
    """Return the id of a message that is no event; receivers recognise a repeated one by it."""
    return f"msg_{kind}_{secrets.token_urlsafe(12)}"


# A receiver that answers with one of these will never accept the event.
NEVER_ACCEPTED = frozenset({410, 413})


class EventReceiver:
    """The receiver of one subscription: its URL, and the secrets that sign for it."""

    def __init__(
        self,
        client: WebhookClient,
        clock: Callable[[], float],
        subscription_id: str,
        url: str,
        keys: Sequence[bytes],
    ) -> None:
        self._client = client
        self._clock = clock
        self._subscription_id = subscription_id
        self._url = url
        self._keys = keys

    async def verify(self) -> None:
        """Send a challenge, which the receiver must echo. Raises RpcError."""
        challenge = secrets.token_urlsafe(32)
        body = msgspec.json.encode({"type": "verification", "challenge": challenge})
        try:
            response = await self._post(message_id("verification"), body)
        except DeliveryFailed as failure:
            raise _callback_error(failure.category) from None
        if response.refusal is not None or not _echoes(response.body, challenge):
            raise _callback_error("challenge_failed")

    async def send(self, event_id: str, body: bytes) -> bool:
        """Send an event; return False if it will never be accepted. Raises DeliveryFailed."""
        response = await self._post(event_id, body)
        if response.status in NEVER_ACCEPTED:
            return False
        response.check()
        return True

    async def notify(self, kind: str, **members: object) -> None:
        """Send a note about the subscription, once: not every receiver accepts these."""
        body = msgspec.json.encode({"type": kind, **members})
        try:
            await self._post(message_id(kind), body)
        except DeliveryFailed as failure:
            log.info(
                "mcp_events.note_not_delivered",
                subscription=self._subscription_id,
                kind=kind,
                reason=failure.category,
            )

    async def _post(self, webhook_id: str, body: bytes) -> ReceiverResponse:
        fields = signed_fields(self._keys, webhook_id, body, self._clock())
        fields[SUBSCRIPTION_HEADER] = self._subscription_id
        return await self._client.post(self._url, body, fields)


def _echoes(body: bytes, challenge: str) -> bool:
    try:
        document = msgspec.json.decode(body)
    except NOT_JSON:
        return False
    echo = document.get("challenge") if isinstance(document, dict) else None
    return isinstance(echo, str) and hmac.compare_digest(echo.encode(), challenge.encode())


def _callback_error(reason: str) -> RpcError:
    return RpcError(CALLBACK_FAILED, "the receiver at delivery.url was not verified", reason=reason)


# Events of one delivery; then other subscriptions of the receiver have their turn.
MOST_EVENTS = 64
# Attempts without the right to read, before a subscription ends: soon after a start, the issuers of
# credentials may not have answered yet.
MOST_REFUSALS = 3


class WebhookEvents:
    """The sender of events of one route."""

    def __init__(
        self, engine: RouteSubscriptions, reader: EventReader, types: Mapping[str, EventType]
    ) -> None:
        self.types = types
        self._engine = engine
        self._reader = reader

    def receiver(self, subscription: DurableSubscription) -> EventReceiver:
        """Return the receiver of a subscription. Raises DeliveryFailed without a secret."""
        url, renewal = subscription.configuration.webhook_url, subscription.events
        assert url is not None, "made with one"
        assert renewal is not None, "of a host of MCP"
        number = 1 if self._engine.clock() >= renewal.former_until else len(renewal.sealed_secrets)
        unsealed = [self._engine.keys.unseal(it) for it in renewal.sealed_secrets[:number]]
        keys = [it for it in unsealed if it is not None]
        if not keys:
            raise DeliveryFailed("the secret was stored with another key: subscribe again")
        engine = self._engine
        return EventReceiver(engine.sender.client, engine.clock, subscription.id, url, keys)

    async def send(self, subscription: DurableSubscription) -> None:
        """Send what is pending, MOST_EVENTS at most. Raises DeliveryFailed, HeadgateError."""
        assert subscription.events is not None, "of a host of MCP"
        receiver = self.receiver(subscription)
        event = self.types.get(subscription.events.event)
        if event is None:
            gone = RpcError(NOT_FOUND, "there is no such event type any more", kind="event")
            await self.terminate(subscription, receiver, gone)
            return
        if (why := self._engine.why_no_wake(subscription)) is not None:
            if why == BANNED or subscription.delivery.failures < MOST_REFUSALS:
                raise DeliveryFailed(why)
            ended = RpcError(FORBIDDEN, "the credential does not permit to read these streams")
            await self.terminate(subscription, receiver, ended)
            return
        left = MOST_EVENTS
        for link in list(subscription.pending.values()):
            left -= await self._send_stream(receiver, event, link, left)
            if left <= 0 or not subscription.may_send:
                return

    async def terminate(
        self, subscription: DurableSubscription, receiver: EventReceiver, error: RpcError
    ) -> None:
        """End a subscription, and notify its receiver."""
        log.warning("mcp_events.terminated", subscription=subscription.id, reason=error.message)
        await receiver.notify("terminated", error=error.document)
        if subscription.phase == "active":
            self._engine.discard(subscription)
            await self._engine.rows.flush()

    async def _send_stream(
        self, receiver: EventReceiver, event: EventType, link: StreamLink, most: int
    ) -> int:
        """Send events of one stream, `most` at most; return how many."""
        sent = 0
        while sent < most and link.is_pending and link.subscription.may_send:
            state = await self._reader.state(link)
            if state is None or state.stream_id != link.stream_id:
                break  # the subscription is notified of that soon
            page = await self._next_page(event, link, state, most - sent)
            if page is None or page.gap is not None:
                known = EventPosition(max(link.position, state.first))
                first = known if page is None else page.start
                await self._notify_of_gap(receiver, link, state, first)
                continue
            sent += await self._send_page(receiver, link, page, state.stream_id)
            if page.end.position == link.position and not page.events:
                break
            if not page.events:
                self._move(link, page.end, state.stream_id)
        return sent

    async def _send_page(
        self, receiver: EventReceiver, link: StreamLink, page: EventPage, stream_id: int
    ) -> int:
        """Send the events of a page of an incarnation; return how many."""
        sent = 0
        try:
            for one in page.events:
                await self._send(receiver, link, one, stream_id)
                sent += 1
                if not link.subscription.may_send or link.stream_id != stream_id:
                    break
        finally:
            if link.messages:  # of many in one append, or in one read
                self._engine.rows.mark_link(link)
        return sent

    async def _next_page(
        self, event: EventType, link: StreamLink, state: StreamView, most: int
    ) -> EventPage | None:
        """Return the next events of a stream; None if its first ones are missing."""
        await self.begin_numbering(link)
        if link.is_recreated or state.first > link.position:
            return None
        return await self._reader.page(event, state, link.accepted_position, most)

    async def begin_numbering(self, link: StreamLink) -> None:
        """Begin to number a link's events, if that is needed: their ids depend on it."""
        if link.numbering is None and (numbering := self._reader.new_numbering()) is not None:
            link.numbering = numbering
            self._engine.rows.mark_link(link)
            await self._engine.rows.flush()

    async def _send(
        self, receiver: EventReceiver, link: StreamLink, event: McpEvent, stream_id: int
    ) -> None:
        """Send one event of an incarnation, and move the cursor behind it."""
        subscription = link.subscription
        cursor = event.cursor if subscription.configuration.streams else None
        body = msgspec.json.encode(event.members(self._engine.clock(), cursor=cursor))
        if not await receiver.send(event.event_id, body):
            log.warning(
                "mcp_events.event_refused", subscription=subscription.id, event_id=event.event_id
            )
        self._move(link, event.end, stream_id)

    async def _notify_of_gap(
        self, receiver: EventReceiver, link: StreamLink, state: StreamView, first: EventPosition
    ) -> None:
        """Notify the receiver that events are missing, and go on with the first that is there."""
        first = first._replace(numbering=first.numbering or link.numbering)
        is_one = bool(link.subscription.configuration.streams)
        cursor = self._reader.cursor_at(state, first) if is_one else None
        await receiver.notify("gap", cursor=cursor)
        if link.stream_id == state.stream_id:
            link.is_recreated = False  # the receiver has been notified of it
            if first.numbering != link.numbering:
                link.start_at(first)
                link.subscription.note(link)  # the gap may reach up to the tail
                self._engine.rows.mark_link(link)
                await self._engine.rows.flush()
            self._move(link, first, state.stream_id)

    def _move(self, link: StreamLink, at: EventPosition, stream_id: int) -> None:
        """Move the cursor, unless the stream has been created again meanwhile."""
        if link.stream_id != stream_id:
            return
        if at.messages and at.position <= link.position:
            link.subscription.delivery.succeed()
        else:
            move = CursorChange(link, at.position, at.is_closed)
            self._engine.wakes.move(link.subscription, [move])
        if link.position == at.position:  # no operator has set it back meanwhile
            link.messages, link.numbering = at.messages, at.numbering
