"""The documents of subscriptions that a worker reads."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from headgate.errors import ProtocolError

_T = TypeVar("_T")


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream as a wake or a claim describes it."""

    path: str
    acked_offset: str
    tail_offset: str
    has_pending: bool
    link_type: str = ""
    closed: bool = False
    trimmed: bool = False
    first_offset: str | None = None


class ClaimedWake(msgspec.Struct, frozen=True):
    """A wake that was claimed, with the token of its lease."""

    wake_id: str
    generation: int
    token: str
    streams: tuple[StreamInfo, ...]
    lease_ttl_ms: int
    partial: bool = False


class WebhookWake(msgspec.Struct, frozen=True):
    """A wake as the body of a webhook has it."""

    subscription_id: str
    wake_id: str
    generation: int
    streams: tuple[StreamInfo, ...]
    callback_url: str
    callback_token: str
    partial: bool = False

    def claim(self, lease_s: float) -> ClaimedWake:
        """Return the wake as if a worker had claimed it."""
        return ClaimedWake(
            self.wake_id,
            self.generation,
            self.callback_token,
            self.streams,
            round(lease_s * 1000),
            self.partial,
        )


class SubscriptionDocument(msgspec.Struct, frozen=True):
    """A description of a subscription: its wake stream, if it is a pull-wake subscription."""

    wake_stream: str | None = None


class WakeEvent(msgspec.Struct, frozen=True):
    """A message of a wake stream."""

    subscription_id: str = ""


class AckResult(msgspec.Struct, frozen=True):
    """The response to an ack: whether another wake follows."""

    next_wake: bool = False


def decoded(body: bytes, kind: type[_T], shown: str) -> _T:
    """Return a document of the server. Raises ProtocolError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as cause:
        raise ProtocolError(f"the server sent no such document: {cause}", stream=shown) from cause
