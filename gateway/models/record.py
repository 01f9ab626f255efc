"""The record beside each answer: a JSON stream with the request, the response and the end.

A later request with the same `Idempotency-Key` finds the answer by its record, also after a
restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from gateway.models.dialects.contract import TokenUsage

if TYPE_CHECKING:
    from gateway.models.streams import AnswerStreams

Outcome: TypeAlias = Literal["complete", "failed", "aborted"]
CONTENT_TYPE = "application/json"


class RequestEntry(msgspec.Struct, frozen=True, tag="request", tag_field="entry"):
    """The request: `digest` is of its path and body, and `began_at` is in epoch seconds.

    An answer `in_background` goes on at the provider when its connection ends.
    """

    path: str
    digest: str
    model: str | None
    began_at: float
    in_background: bool = False


class ResponseEntry(msgspec.Struct, frozen=True, tag="response", tag_field="entry"):
    """The head of the provider's response, as clients get it."""

    status: int
    fields: tuple[tuple[str, str], ...]


class EndEntry(msgspec.Struct, frozen=True, tag="end", tag_field="entry"):
    """The end of the answer; `reason` says why it is not complete. Times are epoch seconds."""

    outcome: Outcome
    ended_at: float
    usage: TokenUsage
    reason: str | None = None


Entry: TypeAlias = RequestEntry | ResponseEntry | EndEntry


class AnswerRecord(msgspec.Struct):
    """The entries of one answer; `response` and `end` are None until they are appended."""

    request: RequestEntry
    response: ResponseEntry | None = None
    end: EndEntry | None = None


_entries = msgspec.json.Decoder(list[Entry])


def record_name(name: str) -> str:
    """Return the name of the record's stream, for the name of the answer's."""
    return f"{name}/record"


def encoded(entry: Entry) -> bytes:
    """Return an entry as the body of an append."""
    return msgspec.json.encode(entry)


async def read_record(streams: AnswerStreams, name: str) -> AnswerRecord | None:
    """Return what is recorded of an answer, or None. Raises HeadgateError."""
    stream = record_name(name)
    end = await streams.end(stream)
    if end is None:
        return None
    record: AnswerRecord | None = None
    for entry in _entries.decode(await streams.read(stream, end.offset_of(0))):
        match entry:
            case RequestEntry():
                record = AnswerRecord(entry)
            case ResponseEntry() if record is not None:
                record.response = entry
            case EndEntry() if record is not None:
                record.end = entry
            case _:
                pass
    return record
