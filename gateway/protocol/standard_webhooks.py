"""Standard Webhooks: the secrets of receivers, and the signatures of messages to them."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
SECRET_WORDS = f"{SECRET_PREFIX} and 24 to 64 bytes in base64"


def key_in(secret: str) -> bytes:
    """Return the key in the text of a secret. Raises ValueError, which does not show the text."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):  # a ValueError for what is not ASCII
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError(f"must be {SECRET_WORDS}")
    return key


def signed_fields(
    keys: Sequence[bytes], message_id: str, body: bytes, now: float
) -> dict[str, str]:
    """Return the header fields of a message that is sent now, signed with each of the keys."""
    signed = f"{message_id}.{int(now)}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(f"v1,{it}" for it in signatures),
    }
