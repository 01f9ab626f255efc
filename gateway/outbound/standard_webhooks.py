"""The signatures of messages to receivers, by Standard Webhooks."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


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
