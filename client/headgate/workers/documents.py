"""The documents of subscriptions that a worker gets."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from headgate.errors import ProtocolError
from headgate.workers.job import LeasedWake

T = TypeVar("T")


class ClaimedWake(LeasedWake, frozen=True, kw_only=True):
    """A wake that was claimed, with the token of its lease."""

    token: str
    lease_ttl_ms: int


class SubscriptionDocument(msgspec.Struct, frozen=True):
    """A description of a subscription: its wake stream, if it is a pull-wake subscription."""

    wake_stream: str | None = None


class WakeEvent(msgspec.Struct, frozen=True):
    """A message of a wake stream."""

    subscription_id: str = ""


def decoded(body: bytes, kind: type[T], shown: str) -> T:
    """Return a document of the server. Raises ProtocolError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as cause:
        raise ProtocolError(f"the server sent no such document: {cause}", stream=shown) from cause
