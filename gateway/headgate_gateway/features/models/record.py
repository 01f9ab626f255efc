"""The record beside a stream of completions: a JSON stream with requests, responses and ends.

A later request with the same `Idempotency-Key` finds the completion by its record, also after a
restart.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from headgate.dialects.contract import dialect_at
from headgate.dialects.progress import TokenUsage
from headgate.events import written
from headgate.json_values import NOT_JSON
from headgate_gateway.errors import RecordDamaged
from headgate_gateway.features.models.ends import Outcome
from headgate_gateway.protocol.bodies.content import DEFAULT_CONTENT_TYPE, EVENTS_TYPE, JSON_TYPE

if TYPE_CHECKING:
    from headgate.dialects.contract import Dialect
    from headgate_gateway.features.models.ends import Ending
    from headgate_gateway.features.models.streams import CompletionStreams

CONTENT_TYPE = JSON_TYPE
RECORD = "/record"  # after the name of the completion's stream


class RequestEntry(msgspec.Struct, frozen=True, tag="request", tag_field="entry"):
    """The request: `digest` is of its path and body, and `began_at` is in epoch seconds.

    A completion `in_background` goes on at the provider when its connection ends; one that
    `is_plain` has any bytes, which are stored as they come, and its `path` is the URL of its host.
    It begins at a `position` of its stream. An `owner` and a `key` are recorded for a named stream
    only, which stays open for more completions: digests of the owner and of the Idempotency-Key,
    which only that owner can compute. In a log of several gateways, the `writer` is the one that
    has begun the completion.
    """

    path: str
    digest: str
    model: str | None
    began_at: float
    in_background: bool = False
    position: int = 0
    owner: str | None = None
    key: str | None = None
    is_plain: bool = False
    writer: str | UnsetType = UNSET

    @property
    def dialect(self) -> Dialect:
        """The dialect of the completion."""
        return dialect_at(self.path)

    @property
    def is_in_named_stream(self) -> bool:
        """True if more completions may follow in the stream."""
        return self.owner is not None


class ResponseEntry(msgspec.Struct, frozen=True, tag="response", tag_field="entry"):
    """The head of the provider's response, as clients get it."""

    status: int
    fields: tuple[tuple[str, str], ...]


class EndEntry(msgspec.Struct, frozen=True, tag="end", tag_field="entry"):
    """The end of the completion at a `position` of its stream, and when, in epoch seconds.

    `reason` says why it is not complete. A completion that `frees_key` is joined by no request
    after its end: the provider ended it without the last event, or began it with an error.
    """

    outcome: Outcome
    ended_at: float
    usage: TokenUsage
    position: int
    reason: str | None = None
    frees_key: bool | UnsetType = UNSET


class PartingEvent(msgspec.Struct, frozen=True):
    """The data of the event after a completion in a named stream."""

    outcome: Outcome
    usage: TokenUsage
    reason: str | None


Entry: TypeAlias = RequestEntry | ResponseEntry | EndEntry


_entries = msgspec.json.Decoder(list[Entry])
_parting = msgspec.json.Decoder(PartingEvent)
PARTING_NAME = b"headgate.end"
_PARTING = b"event: %b\ndata: " % PARTING_NAME


def content_type_of(request: RequestEntry) -> str:
    """Return the content type of the stream with the completion to a request."""
    return DEFAULT_CONTENT_TYPE if request.is_plain else EVENTS_TYPE


def record_name(name: str) -> str:
    """Return the name of the record's stream, for the name of the completion's."""
    return f"{name}{RECORD}"


def owner_digest(owner: bytes, message: str) -> str:
    """Return a digest that only who knows `owner` can compute."""
    return hmac.new(owner, message.encode(), hashlib.sha256).hexdigest()[:40]


async def delete_record(
    streams: CompletionStreams, name: str, record_id: int | None = None
) -> None:
    """Delete the record beside the stream of a completion, if it is there.

    With the id of a record only where that is the present one. Raises HeadgateError.
    """
    if record_id is not None:
        end = await streams.end(record_name(name))
        if end is not None and end.stream_id != record_id:
            return
    await streams.delete(record_name(name), record_id)


def encoded(entry: Entry) -> bytes:
    """Return an entry as the body of an append."""
    return msgspec.json.encode(entry)


def decoded(data: bytes) -> list[Entry]:
    """Return the entries in the data of a read. Raises RecordDamaged."""
    try:
        return _entries.decode(data)
    except NOT_JSON as error:
        raise RecordDamaged(
            "the record beside the stream was not written by this server"
        ) from error


def parting(request: RequestEntry, ended: Ending, usage: TokenUsage) -> list[bytes]:
    """Return the event that parts a completion in a named stream from the next one, in a list.

    Streams of one completion have none: they are closed.
    """
    if not request.is_in_named_stream:
        return []
    event = PartingEvent(ended.outcome, usage, ended.reason)
    return [written(msgspec.json.encode(event), name=PARTING_NAME)]


def end_entry(ended: Ending, at: float, usage: TokenUsage, position: int) -> EndEntry:
    """Return the entry of an end at a position of the stream, in epoch seconds."""
    return EndEntry(ended.outcome, at, usage, position, ended.reason, ended.frees_key or UNSET)


def parting_in(events: bytes) -> int:
    """Return where the first parting event begins, or the length of the events."""
    found = events.find(_PARTING)
    return len(events) if found < 0 else found


def parting_after(events: bytes) -> tuple[PartingEvent, int] | None:
    """Return the parting event with which `events` end, and its length; None if there is none."""
    begin = events.rfind(_PARTING)
    if begin < 0:
        return None
    try:
        return _parting.decode(events[begin + len(_PARTING) :]), len(events) - begin
    except NOT_JSON:
        return None
