"""The messages between gateways about the subscriptions of the log that they share."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from headgate.json_values import NOT_JSON


class ChangeReport(msgspec.Struct, frozen=True, tag="changed"):
    """Streams that the sender has changed, and whether each is new."""

    paths: dict[str, bool]


class ComparisonRequest(msgspec.Struct, frozen=True, tag="compare"):
    """The sender has changed streams that it cannot report one by one, or has to another owner."""


class LeaseMessage(msgspec.Struct, frozen=True, tag="lease"):
    """A notice to read the lease again: its owner changed, or changes unless the receiver beats."""


class RelayRequest(msgspec.Struct, frozen=True, tag="request"):
    """A request that was handed on lies in the mailbox."""

    id: str
    sender: str


class RelayResponse(msgspec.Struct, frozen=True, tag="response"):
    """The response to a request that was handed on lies in the mailbox."""

    id: str


class HandedOnRequest(msgspec.Struct, frozen=True):
    """A request to a control path; `name` is its path below the prefix of the route."""

    method: str
    name: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes


class HandedOnResponse(msgspec.Struct, frozen=True):
    """The response to such a request; the status 0 says that it was not carried out."""

    status: int
    fields: str = ""
    body: bytes = b""


NOT_CARRIED_OUT = HandedOnResponse(0)
Mail: TypeAlias = ChangeReport | ComparisonRequest | LeaseMessage | RelayRequest | RelayResponse

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Mail] = msgspec.msgpack.Decoder(Mail)
decode_request = msgspec.msgpack.Decoder(HandedOnRequest).decode
decode_response = msgspec.msgpack.Decoder(HandedOnResponse).decode


def decode(message: bytes) -> Mail | None:
    """Return a message; None for one of another version of Headgate, or of another program."""
    try:
        return _decoder.decode(message)
    except NOT_JSON:  # the errors of MessagePack are the same
        return None
