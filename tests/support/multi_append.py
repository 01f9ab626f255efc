"""An encoder of messages that shares nothing with the gateway's reader of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MULTI = {"X-Stream-Multi": "true"}


def framed(messages: Iterable[bytes]) -> bytes:
    """Each message behind its length."""
    return b"".join(struct.pack(">I", len(message)) + message for message in messages)
