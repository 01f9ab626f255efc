"""The records by which a stream tells of its run: its format, who produces it, and how it ended.

A record is an item among the others. It is a chunk that every AI SDK accepts and drops, so that a
client which reads the stream itself is not disturbed by it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

TYPE = "data-headgate-run"


class Status(enum.StrEnum):
    """What has become of a run."""

    ACTIVE = "active"
    FINISHED = "finished"  # the source came to its end
    STOPPED = "stopped"  # somebody asked for it
    FAILED = "failed"  # the source raised, or what it gave could not be written
    ORPHANED = "orphaned"  # its producer was gone


@dataclass(frozen=True, slots=True)
class RunState:
    """What has become of a run; one that failed or is orphaned tells why in a sentence."""

    status: Status
    error: str | None = None


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a record tells."""

    format: str | None = None  # in the record that opens a stream
    status: Status | None = None  # active: a producer begins; any other: the run has ended
    error: str | None = None


class _Record(msgspec.Struct, frozen=True, tag_field="type", tag=TYPE):
    data: Told
    transient: bool = True


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Record)
_MARK = TYPE.encode()


def opening(format_name: str) -> bytes:
    """The first record of a stream, written as it is created."""
    return _encode(_Record(Told(format=format_name)))


def claim() -> bytes:
    """The record with which a producer begins."""
    return _encode(_Record(Told(status=Status.ACTIVE)))


def end(state: RunState) -> bytes:
    """The record that says how the run ended."""
    return _encode(_Record(Told(status=state.status, error=state.error)))


def told(item: bytes) -> Told | None:
    """What the item tells, if it is a record."""
    if _MARK not in item:
        return None
    try:
        return _decoder.decode(item).data
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None  # it only mentions one
