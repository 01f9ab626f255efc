"""The state of a stream at one moment, its offsets in all generations, and its changes.

Moments have two clocks. The wall clock is set now and then: by hand, by NTP after a start without a
battery, or when a virtual machine moves. So the idle time of a stream is measured by a steady clock
that is never set.

A log on another server may come back without the data that it acknowledged last. Later appends
must not get offsets that readers and caches have for other bytes, so the generation rises where
the stream then ends, as the leader epoch of Kafka does.
"""

from __future__ import annotations

from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import BadRequest, StreamGone
from headgate_gateway.protocol.streams.offsets import Offset, format_offset, parse_offset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ZERO = Offset(0, 0)  # clients know it as the beginning of any stream; no other position has it
MICROSECONDS = 10**6
PAST = "offset is past the tail of the stream"
NEVER = "offset was never given out: no stream at this path has been there yet"
MAX_PAST_GENERATIONS = 100  # stored with each stream; offsets of older ones are refused


class ClockReading(NamedTuple):
    """The present, in epoch seconds by both clocks.

    `steady` goes on evenly when the wall clock is set. Until that happens both are equal.
    """

    wall: float
    steady: float


class ClockRecord(NamedTuple):
    """The state of the clocks as a log's previous process noted it.

    `in_doubt` is True if the wall clock had moved on too far shortly before.
    """

    moment: ClockReading
    in_doubt: bool = False


def steady_at_start(noted: ClockReading, wall: float) -> float:
    """Return the steady time at a start: the stop counts as the wall clock measured it.

    If the wall clock has not moved on, or was set back, the stop counts as nothing.
    """
    return noted.steady + max(0.0, wall - noted.wall)


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """The producer headers of one request (PROTOCOL.md section 5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A range of positions, up to `end`, whose records are those of another stream."""

    stream_id: int
    end: int
    path: str = ""


class ForkPoint(msgspec.Struct, frozen=True):
    """The request of a fork, by which a repeated creation is recognised (section 4.2).

    `position` is None when no offset was named: the source's tail has moved since.
    """

    source_path: str
    source_id: int
    position: int | None
    sub_offset: int


class Lifetime(msgspec.Struct, frozen=True, omit_defaults=True):
    """The lifetime of a stream: `ttl_s` idle seconds, or until `expires_at` (epoch seconds)."""

    ttl_s: int | None = None
    expires_at: float | None = None
    expires_text: str | None = None

    def deadline(self, now: ClockReading) -> float | None:
        """Return when a stream used `now` ends, by the clock that its lifetime counts by.

        Idle time counts by steady time, a date by the wall clock.
        """
        return now.steady + self.ttl_s if self.ttl_s is not None else self.expires_at

    def remaining(self, wall: float) -> float | None:
        """Return for how many seconds a stream used now lives on; None means for ever."""
        if self.ttl_s is not None:
            return float(self.ttl_s)
        return None if self.expires_at is None else self.expires_at - wall

    def clock(self, now: ClockReading) -> float:
        """Return the time by the clock that this lifetime counts by."""
        return now.wall if self.ttl_s is None else now.steady

    def same_as(self, other: Lifetime) -> bool:
        """Return whether both lifetimes are equal; the spelling of a timestamp does not count."""
        return self.ttl_s == other.ttl_s and self.expires_at == other.expires_at


class OwnRetention(msgspec.Struct, frozen=True, omit_defaults=True):
    """The retention that was set for one stream, as in `Retention`; None leaves it to the route."""

    max_age_s: int | None = None
    max_bytes: int | None = None
    max_messages: int | None = None

    def __bool__(self) -> bool:
        return self != LEFT_TO_THE_ROUTE


LEFT_TO_THE_ROUTE = OwnRetention()


class PastGeneration(msgspec.Struct, frozen=True, array_like=True):
    """A generation that is over: its offsets stay good up to and including position `end`."""

    generation: int
    end: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A boundary between records: what is before `position` was there at `time`.

    `messages` is how many lie between it and the mark before; it is not known of the first mark.
    For `open_s` seconds records may follow it without a mark of their own.
    """

    time: float
    position: int
    messages: int = 0
    open_s: float = 0.0


class StreamState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A stream at one version. `tail` is the position after its last byte.

    `history` names the unbroken history of the log's server in which the stream was last changed,
    0 where there is only one; `past_generations` are those before the present one, oldest first.
    Data before `first` are removed, and `marks` are where more may go, some at `trim_at`.
    `created_at` (epoch seconds) is None for a stream of a version that did not note it. `deadline`
    is a time by the clock that its lifetime counts by (`Lifetime.clock`). An operator may have set
    `own_retention`, and another TTL than that of the `created_lifetime`; both are None otherwise.
    """

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
    history: int = 0
    past_generations: tuple[PastGeneration, ...] = ()
    first: int = 0
    marks: tuple[Mark, ...] = ()
    trim_at: float | None = None
    created_at: int | None = None
    created_lifetime: Lifetime | None = None
    own_retention: OwnRetention | None = None

    def offset(self, position: int) -> str:
        """Return the offset of a position: the same text in every later generation."""
        for epoch in self.past_generations:
            if position <= epoch.end:
                return format_offset(epoch.generation, position)
        return format_offset(self.generation, position)

    def position(self, offset: str) -> int:
        """Return the position of an offset. Raises BadRequest for one of another stream."""
        position = parse_offset(offset, "offset").position
        if self.offset(position) != offset:
            raise BadRequest("it is one of another stream at this path")
        return position

    @property
    def beginning(self) -> int:
        """The position from which its own data begin: a fork's at its fork point."""
        return self.lineage[-1].end if self.lineage else 0

    @property
    def unforked_start(self) -> int | None:
        """The position of a reader that has read nothing; None for a fork, which inherits data."""
        return None if self.lineage else 0

    @property
    def size(self) -> int:
        """Bytes from its beginning, which retention moves on, to its tail."""
        return self.tail - self.first

    def is_along(self, other: StreamState) -> bool:
        """Return whether both states are of one history, so that the higher version is later."""
        return self.stream_id == other.stream_id and self.history == other.history

    def expired(self, now: ClockReading) -> bool:
        """Return whether the stream has expired."""
        return self.deadline is not None and self.lifetime.clock(now) >= self.deadline

    def is_due(self, now: ClockReading) -> bool:
        """Return whether the stream has expired, or records of it by its retention."""
        return self.expired(now) or (self.trim_at is not None and now.wall >= self.trim_at)


class ProducerState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The last accepted epoch and sequence of one producer, and when it was used."""

    epoch: int
    seq: int
    used_at: float


class Record(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The bytes of an append, or of one message of many; `end` is the position after them."""

    end: int
    data: bytes


def records_after(position: int, datas: Sequence[bytes]) -> Iterable[Record]:
    """Return records of these data, the first of which begins at `position`."""
    ends = islice(accumulate(map(len, datas), initial=position), 1, None)
    return map(Record, ends, datas)


class Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A change of one stream in a commit.

    `expected` is the version that the log must still have, None if it must have no stream. With
    `removes` the stream is removed and its path remembers the generation. `appends` is the number
    of appends, which a log need not store. `grown` is how many bytes longer the stream is if only
    version and tail of its state differ, and no producer is forgotten; else 0. With `trims` the
    stream begins later than before.
    """

    state: StreamState
    expected: int | None
    records: tuple[Record, ...] = ()
    producers: tuple[tuple[str, ProducerState], ...] = ()
    forgotten: tuple[str, ...] = ()
    removes: bool = False
    appends: int = 0
    grown: int = 0
    trims: bool = False

    @property
    def added(self) -> int:
        """The bytes of the records."""
        if not self.records:
            return 0
        first = self.records[0]
        return self.state.tail - first.end + len(first.data)


def changed(state: StreamState, later: StreamState, *, removes: bool = False) -> Change:
    """Return the change of a stream to a later state, which gets the next version."""
    later = msgspec.structs.replace(later, version=state.version + 1)
    return Change(later, state.version, removes=removes, trims=later.first > state.first)


def raised(state: StreamState, history: int) -> StreamState:
    """Return the stream in a history of the log: a new generation if the history is another."""
    if state.history == history:
        return state
    past = state.past_generations
    if not past or past[-1].end < state.tail:  # else this generation has no data left
        past = (*past, PastGeneration(state.generation, state.tail))[-MAX_PAST_GENERATIONS:]
    # The id makes it the stream's own, so that its offsets fit no other stream.
    generation = history + state.stream_id % MICROSECONDS
    if generation <= state.generation:
        # A clock was set back. Offsets that were sent and lost must not come again under the next
        # history, and the microseconds of two histories differ.
        generation = state.generation + 1 + (history + state.stream_id) % MICROSECONDS
    return msgspec.structs.replace(
        state, generation=generation, past_generations=past, history=history
    )


def inherited(source: StreamState, position: int) -> tuple[PastGeneration, ...]:
    """Return the past generations of a fork that branches off at `position`."""
    past: list[PastGeneration] = []
    for one in (*source.past_generations, PastGeneration(source.generation, source.tail)):
        past.append(PastGeneration(one.generation, min(one.end, position)))
        if one.end >= position:
            break
    return tuple(past)


def agreed(source: StreamState, fork: StreamState, position: int) -> int:
    """Return how far, at most `position`, a fork and its source share offsets; -1 for nowhere.

    The source may have lost its tail where the fork did not, as on another node of a cluster.
    """
    past = (*source.past_generations, *fork.past_generations)
    ends = {position, *(min(end, position) for end in (source.tail, *(one.end for one in past)))}
    same = (one for one in ends if one <= source.tail and source.offset(one) == fork.offset(one))
    return max(same, default=-1)


def position_of(state: StreamState, offset: Offset) -> int:
    """Return the position of an offset. Raises StreamGone, or BadRequest for one past the tail."""
    position = reckoned_position(state, offset)
    if position > state.tail:
        raise BadRequest(PAST)
    return position


def reckoned_position(state: StreamState, offset: Offset) -> int:
    """Return the position of an offset that may be past the tail: a client may have computed it.

    Past the tail it stands for future data: an offset of lost data, or of another stream, has
    another generation. Raises StreamGone, or BadRequest for a generation that never was.
    """
    position = offset.position
    if offset.generation > state.generation and not state.history:
        raise BadRequest(NEVER)
    if offset.generation != state.generation:
        _check_past(state, offset)
    if position < state.first:
        raise StreamGone(
            f"what follows offset is no longer kept: the stream begins at "
            f"{state.offset(state.first)} now"
        )
    return position


def _check_past(state: StreamState, offset: Offset) -> None:
    if state.history and offset == ZERO:
        return
    for past in state.past_generations:
        if past.generation == offset.generation:
            if offset.position <= past.end:
                return
            # A log that can lose writes gives each fork a generation of its own. So the offsets of
            # its source end at the fork point: later ones are of data that only the source has.
            is_of_source = bool(state.lineage) and past.end == state.beginning
            loss = "the fork does not have" if is_of_source else "the log has lost"
            raise StreamGone(
                f"{loss} what was before this offset: go on from {state.offset(past.end)}"
            )
    if offset.generation < state.generation and not state.past_generations:
        raise StreamGone("offset is of an earlier stream at this path: read from the beginning")
    raise StreamGone(
        "offset is of another stream at this path, or of data that the log has lost: "
        "read from the beginning"
    )
