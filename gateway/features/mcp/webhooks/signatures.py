"""The secrets of receivers, and what they sign: a profile of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from gateway.features.mcp.rpc import INVALID_PARAMS, RpcError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def signed_fields(
    keys: Sequence[bytes], subscription_id: str, webhook_id: str, body: bytes, now: float
) -> dict[str, str]:
    """Return the header fields of a message that is sent now, signed with each of the secrets."""
    signed = f"{webhook_id}.{int(now)}.".encode() + body
    signatures = [
        base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys
    ]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(f"v1,{it}" for it in signatures),
        SUBSCRIPTION_HEADER: subscription_id,
    }
