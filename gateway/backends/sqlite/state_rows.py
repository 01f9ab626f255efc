"""A stream's state as a row: columns for what statements ask for, and JSON text for the rest."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from gateway.protocol.streams.state import (
    ForkPoint,
    Lifetime,
    Mark,
    PastGeneration,
    Segment,
    Stamp,
    StreamState,
)

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


_decode_detail = msgspec.json.Decoder(_Detail).decode
_encode = msgspec.json.Encoder().encode


_in_columns = attrgetter(*FIELDS.values())
_in_detail = attrgetter(*_Detail.__struct_fields__)


def row_of_state(state: StreamState) -> tuple[object, ...]:
    """Return the row of a state, in the order of COLUMNS."""
    detail = _encode(_Detail(*_in_detail(state)))
    return (*_in_columns(state), detail.decode())


def state_of(row: tuple[object, ...]) -> StreamState:
    """Return the state in a row as it was written: the table is strict about column types."""
    *columns, detail = row
    fields: dict[str, Any] = dict(zip(FIELDS.values(), columns, strict=True))
    for name in ("closed", "soft_deleted"):
        fields[name] = bool(fields[name])
    return StreamState(**fields, **msgspec.structs.asdict(_decode_detail(str(detail))))
