"""The messages between gateways about the subscriptions of the log that they share."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.features.subscriptions.shared.stream_notes import StreamNote
from gateway.protocol.bodies.json_text import NOT_JSON

FIRST_WRITES = "first-writes"  # the method of a question of a gateway; no client has it
CARRIED_OUT = 200


class ChangeReport(msgspec.Struct, frozen=True, tag="changed"):
    """Streams that the sender has changed, by path; the sender has numbered its reports."""

    paths: dict[str, StreamNote]
    number: int
    sender: str


class ReportResponse(msgspec.Struct, frozen=True, tag="taken"):
    """Numbers of reports that the owner confirms: it still had the lease after they arrived."""

    numbers: list[int]


class ComparisonRequest(msgspec.Struct, frozen=True, tag="compare"):
    """The sender has changed more streams than it can report one by one."""


class ReportRequest(msgspec.Struct, frozen=True, tag="report"):
    """There are subscriptions from now on: every gateway reports what it changes."""


class LeaseMessage(msgspec.Struct, frozen=True, tag="lease"):
    """A notice to read the lease again: its owner changed, or changes unless the receiver beats."""


class ForgetRequest(msgspec.Struct, frozen=True, tag="outdated"):
    """The request to forget what the sender has said of names: each is asked for again."""

    number: int
    sender: str


class ForgetResponse(msgspec.Struct, frozen=True, tag="forgotten"):
    """The response to a ForgetRequest: the gateway that sends it asks for each name again."""

    number: int
    sender: str


class RemovalReport(msgspec.Struct, frozen=True, tag="removed"):
    """Streams that were removed with their links: the sender is asked for these names again.

    Nobody waits for a response.
    """

    names: frozenset[str]


class RelayRequest(msgspec.Struct, frozen=True, tag="request"):
    """A request that was handed on lies in the mailbox."""

    id: str
    sender: str


class RelayResponse(msgspec.Struct, frozen=True, tag="response"):
    """The response to a request that was handed on lies in the mailbox."""

    id: str


class MissedMessages(msgspec.Struct, frozen=True):
    """A mailbox's note that messages may have been lost with a connection; nobody sends it."""


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
Mail: TypeAlias = (
    ChangeReport
    | ComparisonRequest
    | ReportRequest
    | ReportResponse
    | LeaseMessage
    | ForgetRequest
    | ForgetResponse
    | RemovalReport
    | RelayRequest
    | RelayResponse
)

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Mail] = msgspec.msgpack.Decoder(Mail)
decode_request = msgspec.msgpack.Decoder(HandedOnRequest).decode
decode_response = msgspec.msgpack.Decoder(HandedOnResponse).decode


def decode(message: bytes | None) -> Mail | MissedMessages | None:
    """Return a message of a mailbox, which is None where messages may have been lost.

    One of another version of Headgate, or of another program, gives None.
    """
    if message is None:
        return MissedMessages()
    try:
        return _decoder.decode(message)
    except NOT_JSON:  # the errors of MessagePack are the same
        return None
