"""The records of a run among the items of its stream, and its producer's notes beside it.

A record is an item among the others. It is a chunk that every AI SDK accepts and drops, so that a
client which reads the stream itself is not disturbed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from headgate.json_values import json_text

TYPE: Final = "data-headgate-run"
ORPHAN_AFTER_S: Final = 10  # by default: seconds without a heartbeat after which a lease is over
BEATS: Final = 3  # in that time: two of them may be lost
SPARE_S: Final = 1.0  # for a heartbeat that is due

_T = TypeVar("_T")


Status: TypeAlias = Literal["active", "finished", "stopped", "failed", "orphaned"]
"""The status of a run.

- `active`: it is produced.
- `finished`: its source came to its end.
- `stopped`: somebody stopped it.
- `failed`: its source raised, or gave what could not be written.
- `orphaned`: its producer is gone.
"""


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a run.

    Attributes:
        status: `active` while the run is produced, then how it ended.
        error: The reason, in a sentence, if it failed or is orphaned.
    """

    status: Status
    error: str | None = None


ACTIVE: Final = RunState("active")
STOPPED: Final = RunState("stopped")
ORPHANED: Final = RunState("orphaned", "its producer is gone")
CUT: Final = RunState("failed", "the stream of the run was closed without an end")


class Forged(Exception):
    """A source's value that looks like a record of the run itself."""


class RunRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of a record."""

    format: str | None = None  # in the record that opens a stream
    start: str | None = None  # the id of the start that made the stream, in the same record
    status: Status | None = None  # active: a producer begins; any other: the run has ended
    error: str | None = None
    count: int | None = None  # of the items before the record of an end
    step: str | None = None  # the key of a step that is done with the items before this record
    value: Any = None  # what the step came to

    @property
    def end(self) -> RunState | None:
        """Return how the run ended, or None if this is not the record of an end."""
        if self.status is None or self.status == "active":
            return None
        return RunState(self.status, self.error)


class _Record(msgspec.Struct, frozen=True):
    # No tag of msgspec's, which takes what has none for this struct.
    type: Literal["data-headgate-run"]
    data: RunRecord
    transient: bool = True


class _Typed(msgspec.Struct, frozen=True):
    type: Literal["data-headgate-run"]


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Record)
_typed = msgspec.json.Decoder(_Typed)
MARK = TYPE.encode()  # what has not these bytes in it holds no record


def opening(format_name: str, start: str | None = None) -> bytes:
    """Return the first record of a stream, which is written as the start of that id creates it."""
    return _encode(_Record(TYPE, RunRecord(format=format_name, start=start)))


def claim() -> bytes:
    """Return the record with which a producer begins."""
    return _encode(_Record(TYPE, RunRecord(status="active")))


def step(key: str, value: msgspec.Raw) -> bytes:
    """Return the record that says that a step is done, and what it came to."""
    return _encode(_Record(TYPE, RunRecord(step=key, value=value)))


def end(state: RunState, count: int | None = None) -> bytes:
    """Return the record that says how the run ended, and how many items are before it."""
    record = RunRecord(status=state.status, error=state.error, count=count)
    return _encode(_Record(TYPE, record))


def parse_record(item: bytes) -> RunRecord | None:
    """Return the data of the item if it is a record, else None."""
    record = _read(_decoder, item)
    return None if record is None else record.data


def item(value: object) -> bytes:
    """Encode a source's value as an item of the stream; raise Forged if it looks like a record.

    TypeError or ValueError for what is not JSON on one line, which `msgspec.Raw` can hold.
    """
    data = json_text(value)
    if b"\n" in data or b"\r" in data:
        raise ValueError("there is a line break in it")
    if _read(_typed, data) is not None:
        raise Forged(f"items of the type {TYPE} are Headgate's own")
    return data


def _read(decoder: msgspec.json.Decoder[_T], item: bytes) -> _T | None:
    if MARK not in item:
        return None
    try:
        return decoder.decode(item)
    except msgspec.DecodeError:
        return None  # it only mentions one


def beat_s(orphan_after_s: float) -> float:
    """Return the seconds from one heartbeat to the next."""
    return orphan_after_s / BEATS


class Note(msgspec.Struct, frozen=True):
    """A note of a run's producer for clients that look for it; the last one counts.

    A producer writes one when it begins, and one when it gives the run up without an end.
    """

    orphan_after: int = ORPHAN_AFTER_S  # of its lease
    is_left: bool = False  # no producer has the run any more

    def patience_s(self, *, is_to_stop: bool) -> float:
        """Return the seconds that the producer has to take its lease again or to hear of a stop."""
        if self.is_left:
            return 0.0
        return beat_s(self.orphan_after) + (0.0 if is_to_stop else SPARE_S)


_notes = msgspec.json.Decoder(list[Note])


def last_note(body: bytes) -> Note | None:
    """Return the last note in a JSON array of them; None if there is none that can be read."""
    try:
        notes = _notes.decode(body)
    except (ValueError, RecursionError):
        return None
    return notes[-1] if notes else None
