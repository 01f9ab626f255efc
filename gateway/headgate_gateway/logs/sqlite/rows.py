"""Rows of streams: a state, with columns for what statements ask for, and records.

One row of records holds what one commit, or several, appended to a stream. With a row for each
record, a commit would write hundreds of index entries and cells instead of a few. A read of a chunk
takes a few dozen rows.
"""

from __future__ import annotations

import struct
import zlib
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from headgate_gateway.errors import RecordDamaged
from headgate_gateway.protocol.streams.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.streams.state import Change, Record, Segment

_place = struct.Struct(">qq").pack

RECORD_COLUMNS = "stream, end, crc, sizes, data"


def row_of(stream_id: int, records: Sequence[Record]) -> tuple[object, ...]:
    """Return the row that holds records which follow each other."""
    end = records[-1].end
    if len(records) == 1:  # takes half of the time
        data = records[0].data
        return stream_id, end, checksum(stream_id, end, None, data), None, data
    datas = [record.data for record in records]
    sizes = struct.pack(f">{len(datas)}I", *map(len, datas))
    data = b"".join(datas)
    return stream_id, end, checksum(stream_id, end, sizes, data), sizes, data


class ChunkBuilder:
    """A builder of the chunk that a read returns: its records are checked row by row.

    If `start` lies inside a record, `start` becomes the position where that record begins.
    """

    __slots__ = ("position", "records", "start", "state")

    def __init__(self, state: StreamState, start: int) -> None:
        self.state = state
        self.start = self.position = start
        self.records: list[bytes] = []

    def add_row(
        self, segment: Segment, end: int, row_end: int, crc: int, sizes: bytes | None, data: bytes
    ) -> None:
        """Take the records of one row that end after the position, up to `end`."""
        if checksum(segment.stream_id, row_end, sizes, data) != crc:
            raise self.damage("damaged")
        at = row_end - len(data)
        if at > self.position or (self.records and at < self.position):
            raise self.damage("missing")
        if not self.records:
            self.start = at
        if sizes is None:  # the row is one record: this branch takes two thirds of the time
            self.records.append(data)
            self.position = row_end
        else:
            lengths = struct.unpack(f">{len(sizes) // 4}I", sizes)
            self._add_records(lengths, data, at, min(end, segment.end))

    def _add_records(self, lengths: Sequence[int], data: bytes, at: int, last: int) -> None:
        """Take records that begin at a position, up to the first that ends at or past `last`."""
        records, position, offset = self.records, self.position, 0
        for length in lengths:
            after = at + length
            if after > position:
                records.append(data[offset : offset + length])
                position = after
                if position >= last:
                    break
            elif not records:
                self.start = after
            offset, at = offset + length, after
        self.position = position

    def add_changes(self, changes: Sequence[Change], end: int) -> None:
        """Take the records of changes that lie after the position, up to `end`."""
        for record in chain.from_iterable(change.records for change in changes):
            if self.position >= end:
                return
            if record.end > self.position:
                if not self.records:
                    self.start = record.end - len(record.data)
                self.records.append(record.data)
                self.position = record.end

    def damage(self, what: str) -> RecordDamaged:
        """Return the error for a record that is damaged: nothing is served."""
        return RecordDamaged(
            f"the record that follows position {self.position} of {self.state.path} is {what} on"
            " disk: nothing of this read is served"
        )


def checksum(stream_id: int, end: int, sizes: bytes | None, data: bytes) -> int:
    """Return the CRC of a row and its place: right bytes at a wrong position are damage."""
    seed = zlib.crc32(_place(stream_id, end) + (sizes or b""))
    return zlib.crc32(data, seed)


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
STATE_COLUMNS = ", ".join([*FIELDS, "detail"])
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


# The parts of a state that few statements read, stored as JSON text.
_Detail: Any = msgspec.defstruct(
    "_Detail",
    [
        (it.name, it.type, it.default)
        for it in msgspec.structs.fields(StreamState)
        if it.name not in FIELDS.values()
    ],
    frozen=True,
    omit_defaults=True,
)
_decode_detail = msgspec.json.Decoder(_Detail).decode
_encode = msgspec.json.Encoder().encode


_in_columns = attrgetter(*FIELDS.values())
_in_detail = attrgetter(*_Detail.__struct_fields__)


# The last field of `detail`, whose value is the row's checksum.
CHECK = '"check":'


def row_of_state(state: StreamState) -> tuple[object, ...]:
    """Return the row of a state, in the order of STATE_COLUMNS."""
    columns = _in_columns(state)
    text = _encode(_Detail(*_in_detail(state))).decode()
    body = "{" if text == "{}" else f"{text[:-1]},"
    return (*columns, f"{body}{CHECK}{_state_checksum(columns, body)}}}")


def is_row_sound(row: tuple[Any, ...]) -> bool:
    """Return whether a row matches its checksum."""
    *columns, detail = row
    body, _, check = str(detail).rpartition(CHECK)
    return check == f"{_state_checksum(columns, body)}}}"


def _state_checksum(columns: Sequence[Any], body: str) -> int:
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
