"""The messages between gateways about the subscriptions of the log that they share."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.protocol.bodies.json_text import NOT_JSON


class GrowthReport(msgspec.Struct, frozen=True, array_like=True, tag="grown"):
    """The growth of a stream of our own log between two versions, and no other change."""

    stream_id: int
    history: int
    since: int
    version: int
    tail: int


class WriteReport(msgspec.Struct, frozen=True, array_like=True, tag="write"):
    """The outcome of writes to a stream of another server, as their responses say it.

    Without a `tail` no response had one, and the outcome of a write `is_unsure`. A stream that was
    created has the new number `created`, and the `beginning` from which its data count.
    """

    tail: str = ""
    closed: bool = False
    created: int | None = None
    beginning: str = ""
    is_deleted: bool = False
    is_unsure: bool = False


# A bool says of a stream of our own log, which the gateway that delivers has to read, whether it is
# new.
StreamNote: TypeAlias = bool | GrowthReport | WriteReport


def merge_notes(earlier: StreamNote | None, later: StreamNote) -> StreamNote:
    """Return one note of what was noted of a stream at two times."""
    if isinstance(earlier, WriteReport) and isinstance(later, WriteReport):
        return _merge_writes(earlier, later)
    if isinstance(earlier, GrowthReport) and isinstance(later, GrowthReport):
        return _merge_growth(earlier, later)
    if earlier is None or isinstance(later, WriteReport):
        return later
    return earlier is True or later is True


def _merge_growth(earlier: GrowthReport, later: GrowthReport) -> StreamNote:
    """Return the growth from the first version to the last, or False if anything is between."""
    is_same = (earlier.stream_id, earlier.history) == (later.stream_id, later.history)
    if not is_same or later.since > earlier.version or earlier.since > later.version:
        return False
    last = max(earlier, later, key=lambda note: note.version)
    since = min(earlier.since, later.since)
    return GrowthReport(last.stream_id, last.history, since, last.version, last.tail)


def _merge_writes(earlier: WriteReport, later: WriteReport) -> WriteReport:
    if later.is_deleted or later.created is not None:
        return later  # what was before is over
    return WriteReport(
        max(earlier.tail, later.tail),
        earlier.closed or later.closed,
        earlier.created,
        earlier.beginning,
        earlier.is_deleted,
        earlier.is_unsure or later.is_unsure,
    )


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

    There is no response to it.
    """

    names: frozenset[str]


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


def decode(message: bytes) -> Mail | None:
    """Return a message; None for one of another version of Headgate, or of another program."""
    try:
        return _decoder.decode(message)
    except NOT_JSON:  # the errors of MessagePack are the same
        return None
