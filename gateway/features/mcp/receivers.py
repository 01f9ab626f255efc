"""Calls of receivers by Standard Webhooks: the challenge of a new one, events, and notes."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING

import msgspec

from gateway.features.delivery.receivers import DeliveryFailed, standard_fields
from gateway.features.mcp.rpc import CALLBACK_FAILED, INVALID_PARAMS, RpcError
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.features.delivery.receivers import ReceiverResponse, WebhookClient


PREFIX = "whsec_"
LENGTHS = range(24, 65)  # bytes of a secret
LONGEST_TEXT = 128
SUBSCRIPTION_HEADER = "X-MCP-Subscription-Id"


def secret_of(text: object) -> bytes:
    """Return the secret that a client gives. Raises RpcError, which has nothing of it."""
    refused = RpcError(
        INVALID_PARAMS, f"delivery.secret is {PREFIX} and 24 to 64 random bytes as base64"
    )
    if not isinstance(text, str) or not text.startswith(PREFIX) or len(text) > LONGEST_TEXT:
        raise refused
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise refused from None
    length = len(secret)
    if length not in LENGTHS:
        raise refused
    return secret


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
        fields = standard_fields(self._keys, webhook_id, body, self._clock())
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
