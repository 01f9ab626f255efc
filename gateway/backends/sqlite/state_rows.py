"""A stream's state as a row: columns for what statements ask for, and JSON text for the rest."""

from __future__ import annotations

import zlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.protocol.streams.state import (
    ForkPoint,
    Lifetime,
    Mark,
    OwnRetention,
    PastGeneration,
    Segment,
    Stamp,
    StreamState,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each column of a stream, and the field of its state that it holds.
FIELDS = {
    "id": "stream_id",
    "path": "path",
    "generation": "generation",
    "version": "version",
    "content_type": "content_type",
    "tail": "tail",
    "closed": "closed",
    "deadline": "deadline",
    "soft_deleted": "soft_deleted",
    "refs": "references",
    "trim_at": "trim_at",
}
COLUMNS = ", ".join([*FIELDS, "detail"])
UPSERT = (
    " on conflict (id) do update set generation=excluded.generation, version=excluded.version,"
    " tail=excluded.tail,"
    " closed=excluded.closed, deadline=excluded.deadline, soft_deleted=excluded.soft_deleted,"
    " refs=excluded.refs, trim_at=excluded.trim_at, detail=excluded.detail"
)
UPSERT_PRODUCER = (
    " on conflict (stream, producer) do update set epoch=excluded.epoch, seq=excluded.seq,"
    " used_at=excluded.used_at"
)

# Updates the rows of streams that only grew.
MOVE = (
    "with moved (id, version, tail) as (values {rows}) update or fail streams"
    " set version=moved.version, tail=moved.tail from moved where streams.id=moved.id"
)


class _Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parts of a state that few statements read, stored as JSON text."""

    closed_by: Stamp | None = None
    stream_seq: str | None = None
    lifetime: Lifetime = Lifetime()
    fork: ForkPoint | None = None
    lineage: tuple[Segment, ...] = ()
    history: int = 0
    past_generations: tuple[PastGeneration, ...] = ()
    first: int = 0
    marks: tuple[Mark, ...] = ()
    created_at: int | None = None
    created_lifetime: Lifetime | None = None
    own_retention: OwnRetention | None = None


_decode_detail = msgspec.json.Decoder(_Detail).decode
_encode = msgspec.json.Encoder().encode


_in_columns = attrgetter(*FIELDS.values())
_in_detail = attrgetter(*_Detail.__struct_fields__)


# The last field of `detail`, whose value is the row's checksum.
CHECK = '"check":'


def row_of_state(state: StreamState) -> tuple[object, ...]:
    """Return the row of a state, in the order of COLUMNS."""
    columns = _in_columns(state)
    text = _encode(_Detail(*_in_detail(state))).decode()
    body = "{" if text == "{}" else f"{text[:-1]},"
    return (*columns, f"{body}{CHECK}{_checksum(columns, body)}}}")


def is_row_sound(row: tuple[Any, ...]) -> bool:
    """Return whether a row matches its checksum."""
    *columns, detail = row
    body, _, check = str(detail).rpartition(CHECK)
    return check == f"{_checksum(columns, body)}}}"


def _checksum(columns: Sequence[Any], body: str) -> int:
    """Return the CRC of a row without version and tail, which change alone with each append."""
    stream_id, path, generation, _, content_type, _, closed, deadline, *rest = columns
    soft_deleted, references, trim_at = rest
    # SQLite returns flags as integers, and times as floats.
    return zlib.crc32(
        f"{stream_id} {path} {generation} {content_type} {closed:d} {_time(deadline)}"
        f" {soft_deleted:d} {references} {_time(trim_at)} {body}".encode()
    )


def _time(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def state_of(row: tuple[object, ...]) -> StreamState:
    """Return the state in a row as it was written: the table is strict about column types."""
    *columns, detail = row
    fields: dict[str, Any] = dict(zip(FIELDS.values(), columns, strict=True))
    for name in ("closed", "soft_deleted"):
        fields[name] = bool(fields[name])
    return StreamState(**fields, **msgspec.structs.asdict(_decode_detail(str(detail))))
