"""What a stream is at one moment, and the change that takes it to the next."""

from __future__ import annotations

import msgspec


class Stamp(msgspec.Struct, frozen=True):
    """The producer headers of one request (PROTOCOL.md section 5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A range of positions, up to `end`, whose records are stored under another stream's id."""

    stream_id: int
    end: int


class ForkPoint(msgspec.Struct, frozen=True):
    """How a fork was asked for: what makes a repeated creation the same one (section 4.2).

    `position` is None when no offset was named: the source's tail has moved since.
    """

    source_path: str
    source_id: int
    position: int | None
    sub_offset: int


class Lifetime(msgspec.Struct, frozen=True):
    """When a stream ends: after `ttl_s` idle seconds, or at `expires_at` (epoch seconds)."""

    ttl_s: int | None = None
    expires_at: float | None = None
    expires_text: str | None = None

    def deadline(self, now: float) -> float | None:
        """The moment of expiry of a stream that is used at `now`."""
        return now + self.ttl_s if self.ttl_s is not None else self.expires_at

    def same_as(self, other: Lifetime) -> bool:
        """Whether both ask for the same; the spelling of a timestamp does not count."""
        return self.ttl_s == other.ttl_s and self.expires_at == other.expires_at


class StreamState(msgspec.Struct, frozen=True):
    """One stream at one version. `tail` is the position after its last byte."""

    path: str
    stream_id: int
    generation: int
    content_type: str
    version: int = 0
    tail: int = 0
    closed: bool = False
    closed_by: Stamp | None = None
    stream_seq: str | None = None
    lifetime: Lifetime = Lifetime()
    deadline: float | None = None
    soft_deleted: bool = False
    references: int = 0
    fork: ForkPoint | None = None
    lineage: tuple[Segment, ...] = ()

    def expired(self, now: float) -> bool:
        """Whether the stream's time is over."""
        return self.deadline is not None and now >= self.deadline


class ProducerState(msgspec.Struct, frozen=True):
    """The last accepted epoch and sequence of one producer, and when it was used."""

    epoch: int
    seq: int
    used_at: float


class Record(msgspec.Struct, frozen=True, gc=False):
    """One append's bytes; `end` is the position after them."""

    end: int
    data: bytes


class Change(msgspec.Struct, frozen=True):
    """One stream's part of a commit.

    `expected` is the version that must still stand in the log, None when no stream may. With
    `removes` the stream goes and its path remembers the generation.
    """

    state: StreamState
    expected: int | None
    records: tuple[Record, ...] = ()
    producers: tuple[tuple[str, ProducerState], ...] = ()
    forgotten: tuple[str, ...] = ()
    removes: bool = False
