"""The rules of creation, forks and deletion: preconditions and changes (sections 4.2, 5).

`headgate_gateway.streams` calls these functions, and commits the changes that they return to a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_gateway.errors import (
    NO_STREAM,
    BadRequest,
    ConfigurationConflict,
    ContentTypeMismatch,
    HeadgateError,
    StreamGone,
    StreamLimit,
    StreamNotFound,
)
from headgate_gateway.protocol.bodies.content import (
    DEFAULT_CONTENT_TYPE,
    media_type,
    prefix_of,
    records_of,
)
from headgate_gateway.protocol.streams.limits import FOR_EVER, UNLIMITED
from headgate_gateway.protocol.streams.state import (
    MICROSECONDS,
    Change,
    ForkPoint,
    Segment,
    StreamState,
    changed,
    inherited,
    position_of,
    records_after,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from headgate_gateway.protocol.requests import CreateRequest, ForkRequest
    from headgate_gateway.protocol.streams.limits import LifetimeLimits
    from headgate_gateway.protocol.streams.state import ClockReading

MAX_FORK_DEPTH = 100  # a read may have to visit each level


class CreationOutcome(msgspec.Struct, frozen=True):
    """A creation's outcome: the stream's state, and whether it is `new` (201 instead of 200)."""

    state: StreamState
    new: bool


class PathState(msgspec.Struct, frozen=True):
    """The state of a path: its stream or None, and the generation of the last removed stream.

    An expired stream that no fork needs is removed before anything is decided on its path.
    `history` is the log's number of its present history, 0 for a log that cannot lose
    acknowledged appends.
    """

    state: StreamState | None
    retired: int | None = None
    history: int = 0


def present(state: StreamState | None, now: ClockReading) -> StreamState:
    """Return the stream if a client may use it; deletion wins over absence (section 5.4)."""
    has_expired = state is not None and state.expired(now)
    if state is None or (has_expired and not state.references):
        raise StreamNotFound(NO_STREAM)
    if state.soft_deleted or has_expired:
        raise StreamGone("the stream was deleted; forks of it still use its data")
    return state


def decide_create(
    path_state: PathState,
    path: str,
    request: CreateRequest,
    stream_id: int,
    now: ClockReading,
    limits: LifetimeLimits = UNLIMITED,
) -> tuple[CreationOutcome, tuple[Change, ...]]:
    """Decide a plain PUT: creation, confirmation of the same stream (200), or conflict (5.1)."""
    content_type = request.content_type or DEFAULT_CONTENT_TYPE
    existing = _in_the_way(path_state, now)
    if existing is not None:
        _check_same(existing, request, content_type, None, limits)
        return CreationOutcome(existing, new=False), ()
    state = StreamState(
        path=path,
        stream_id=stream_id,
        generation=_generation(path_state, 0, stream_id, now),
        content_type=content_type,
        lifetime=limits.of_new(request.lifetime, now),
    )
    outcome, change = _creation(state, path_state, request, (), now)
    return outcome, (change,)


def _creation(
    state: StreamState,
    path_state: PathState,
    request: CreateRequest,
    inherited_part: Sequence[bytes],
    now: ClockReading,
) -> tuple[CreationOutcome, Change]:
    """Return the creation of a stream, whose own records begin at its tail."""
    datas = inherited_part
    if request.body:
        datas = [*datas, *records_of(state.content_type, request.body, request.records)[0]]
    records = tuple(records_after(state.tail, datas))
    state = replace(
        state,
        tail=records[-1].end if records else state.tail,
        closed=request.close,
        deadline=state.lifetime.deadline(now),
        history=path_state.history,
        created_at=int(now.wall),
    )
    return CreationOutcome(state, new=True), Change(state, None, records)


def source_of(
    state: StreamState | None, now: ClockReading, existing: StreamState | None = None
) -> StreamState:
    """Return the stream to fork; a deleted one is a conflict, not an absence (section 4.2).

    `existing` is the stream at the fork's path. If it is a fork of this source, the source may have
    been deleted since: a repeated creation of the fork is confirmed all the same.
    """
    if state is None or (state.expired(now) and not state.references):
        raise StreamNotFound("there is no stream at the path that Stream-Forked-From names")
    fork = None if existing is None else existing.fork
    if fork is not None and fork.source_id == state.stream_id:
        return state
    if state.soft_deleted or state.expired(now):
        raise ConfigurationConflict("the source stream was deleted")
    return state


def fork_position(source: StreamState, request: ForkRequest) -> int:
    """Return the position in the source where a fork branches off; by default the tail."""
    if request.offset is None:
        return source.tail
    if request.offset.generation == -1:
        return 0
    try:
        return position_of(source, request.offset)
    except HeadgateError as refusal:
        raise BadRequest(
            f"Stream-Fork-Offset is not a place in the source stream: {refusal.detail}"
        ) from refusal


def check_fork_begins(position: int, record_start: int) -> None:
    """Refuse a position inside a record: a fork has whole records, and a sub-offset cuts one."""
    if record_start < position:
        raise BadRequest(
            "Stream-Fork-Offset lies inside an append: give the offset before it, and"
            " Stream-Fork-Sub-Offset"
        )


def fork_prefix(
    source: StreamState, request: ForkRequest, following: bytes | None
) -> Generator[None, None, bytes]:
    """Return the part of the record `following` the fork offset that the sub-offset includes.

    It takes steps of a few milliseconds, however long the record is.
    """
    if request.sub_offset == 0:
        return b""
    prefix = yield from prefix_of(source.content_type, following or b"", request.sub_offset)
    if following is None or prefix is None:
        raise BadRequest("Stream-Fork-Sub-Offset is past the next data boundary of the source")
    return prefix


def decide_fork(  # noqa: PLR0913 - what a fork depends on
    path_state: PathState,
    path: str,
    request: CreateRequest,
    source: StreamState,
    prefix: bytes,
    stream_id: int,
    now: ClockReading,
    limits: LifetimeLimits = UNLIMITED,
) -> tuple[CreationOutcome, tuple[Change, ...]]:
    """Decide a PUT with Stream-Forked-From: the fork and the source's reference in one commit.

    `prefix` is the part of the next record that the fork begins with.
    """
    assert request.fork is not None, "it is a fork"
    content_type = request.content_type or source.content_type
    position = fork_position(source, request.fork)
    requested = None if request.fork.offset is None else position
    point = ForkPoint(source.path, source.stream_id, requested, request.fork.sub_offset)
    existing = _in_the_way(path_state, now)
    if existing is not None:
        _check_same(existing, request, content_type, point, limits)
        return CreationOutcome(existing, new=False), ()
    source_of(source, now)  # the fork may have been deleted since its source was loaded
    if media_type(content_type) != media_type(source.content_type):
        raise ContentTypeMismatch(f"the source stream holds {source.content_type}")
    lineage = _lineage(source, position)
    if len(lineage) > MAX_FORK_DEPTH:
        raise StreamLimit(f"a fork chain may be {MAX_FORK_DEPTH} deep", "fork_depth")
    state = StreamState(
        path=path,
        stream_id=stream_id,
        generation=_generation(path_state, source.generation, stream_id, now),
        content_type=content_type,
        tail=position,
        lifetime=limits.of_fork(source.lifetime, request.lifetime, now),
        fork=point,
        lineage=lineage,
        # Only generations taken from the clock are unique. Where they are counted, the offset of an
        # earlier stream at this path could be taken for one of the source.
        past_generations=inherited(source, position) if path_state.history else (),
        first=source.first if position >= source.first else 0,
    )
    outcome, change = _creation(state, path_state, request, [prefix] if prefix else [], now)
    # It is not trimmed while it has references.
    referenced = replace(source, references=source.references + 1, trim_at=None)
    return outcome, (changed(source, referenced), change)


def remove(state: StreamState) -> tuple[Change, ...]:
    """Return the changes that remove a stream, deleted or expired (section 5.4).

    While forks need its data, it only disappears from its path.
    """
    if state.references:
        return (changed(state, replace(state, soft_deleted=True, deadline=None)),)
    return (Change(state, state.version, removes=True),)


def touched(state: StreamState) -> tuple[Change, ...]:
    """Return the change that stores a stream's sliding deadline as it is now."""
    return (changed(state, state),)


def release(source: StreamState) -> tuple[Change, ...]:
    """Return the changes to the source of a removed fork: one reference less, perhaps removal."""
    released = replace(source, references=source.references - 1)
    if released.soft_deleted and not released.references:
        return (changed(source, released, removes=True),)
    if released.marks and not released.references:  # no fork holds up its retention any more
        released = replace(released, trim_at=released.marks[0].time)
    return (changed(source, released),)


def _in_the_way(path_state: PathState, now: ClockReading) -> StreamState | None:
    if path_state.state is not None and (
        path_state.state.soft_deleted or path_state.state.expired(now)
    ):
        raise ConfigurationConflict("the path is taken by a deleted stream that forks still use")
    return path_state.state


def _generation(path_state: PathState, at_least: int, stream_id: int, now: ClockReading) -> int:
    """Return a generation above any at this path, so that no old offset or cached chunk fits.

    A log that can lose writes may have lost a whole stream, which only the clock shows.
    With such a log a fork has a generation of its own, even if that of its source is ahead of the
    clock: of two streams in one generation a reader could get the bytes of the other.
    """
    if path_state.retired is not None:
        at_least = max(at_least, path_state.retired + 1)
    if not path_state.history:
        return at_least
    by_clock = int(now.wall * MICROSECONDS)
    return by_clock if by_clock > at_least else at_least + 1 + stream_id % MICROSECONDS


def _check_same(
    existing: StreamState,
    request: CreateRequest,
    content_type: str,
    fork: ForkPoint | None,
    limits: LifetimeLimits,
) -> None:
    if media_type(existing.content_type) != media_type(content_type):
        raise ConfigurationConflict(f"a stream of type {existing.content_type} exists here")
    if existing.closed != request.close:
        raise ConfigurationConflict(
            f"the existing stream is {'closed' if existing.closed else 'open'}"
        )
    if existing.fork != fork:
        raise ConfigurationConflict("the existing stream has another origin: its fork differs")
    requested = request.lifetime
    inherited = fork is not None and requested == FOR_EVER
    # A client that creates it again names what it did first, or what the stream shows since then.
    lifetimes = (existing.lifetime, existing.created_lifetime or existing.lifetime)
    if not inherited and not any(limits.is_same(it, requested) for it in lifetimes):
        raise ConfigurationConflict("the existing stream has another TTL or expiry")


def _lineage(source: StreamState, position: int) -> tuple[Segment, ...]:
    """Return the places of inherited records: the source's segments, cut at the fork's position."""
    segments: list[Segment] = []
    begin = 0
    for segment in (*source.lineage, Segment(source.stream_id, position, source.path)):
        end = min(segment.end, position)
        if end > begin:
            segments.append(Segment(segment.stream_id, end, segment.path))
            begin = end
    return tuple(segments)
