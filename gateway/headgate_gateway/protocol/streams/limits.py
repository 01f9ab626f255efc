"""Lifetimes of streams, retention of their records, and the limits that one stream has of its own.

A position does not tell when it was written, and a stream may only be cut between records. So a
few boundaries are stored with the time at which they were the tail, and a stream is cut at one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.streams.state import (
    LEFT_TO_THE_ROUTE,
    Change,
    Lifetime,
    Mark,
    OwnRetention,
    StreamState,
    changed,
)

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.state import ClockReading

S = TypeVar("S", bound="msgspec.Struct")
# A maximum age may be set later: then the age of existing records must be known.
OPEN_S = 24 * 3600.0
PARTS = 8  # marks in the retained data, about: up to an eighth more than the limit stays


class Retention(msgspec.Struct):
    """The retention of a stream: the seconds, bytes and messages that stay; 0 means all."""

    max_age_s: int = 0
    max_bytes: int = 0
    max_messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.max_age_s or self.max_bytes or self.max_messages)


EVERYTHING = Retention()
FOR_EVER = Lifetime()


class LifetimeLimits(msgspec.Struct):
    """The lifetimes of new streams in seconds; 0 means that there is no default, or no limit.

    A longer lifetime is refused, not shortened: the client would not know that its stream ends
    before the time that it named.
    """

    default_s: int = 0
    max_s: int = 0

    @property
    def default(self) -> Lifetime:
        """The lifetime of a stream whose creation names none; with a limit it is no longer."""
        ttl_s = self.default_s or self.max_s
        return Lifetime(ttl_s=ttl_s) if ttl_s else FOR_EVER

    def of_new(self, requested: Lifetime, now: ClockReading) -> Lifetime:
        """Return the lifetime of a new stream. Raises BadRequest if it may not be so long."""
        if requested == FOR_EVER:
            return self.default
        if self._is_too_long(requested, now):
            named = "Stream-TTL" if requested.ttl_s is not None else "Stream-Expires-At"
            raise BadRequest(
                f"{named} is too far away: streams live for {self.max_s} seconds at most here"
            )
        return requested

    def of_existing(self, ttl_s: int) -> Lifetime:
        """Return the lifetime of a stream that gets another TTL; 0 is for ever.

        Raises BadRequest if it may not be so long.
        """
        if self.max_s and not 0 < ttl_s <= self.max_s:
            raise BadRequest(
                f"a ttl of {ttl_s} is too long: max_ttl of the route is {self.max_s} seconds"
            )
        return Lifetime(ttl_s=ttl_s) if ttl_s else FOR_EVER

    def of_fork(self, source: Lifetime, requested: Lifetime, now: ClockReading) -> Lifetime:
        """Return the lifetime of a fork: without one of its own the source's (section 4.2)."""
        if requested == FOR_EVER and source != FOR_EVER and not self._is_too_long(source, now):
            return source
        return self.of_new(requested, now)

    def is_same(self, existing: Lifetime, requested: Lifetime) -> bool:
        """Return whether a stream that exists has the lifetime that its creation names.

        One that names none fits a stream without an end, too: there may have been no default then.
        """
        if requested == FOR_EVER:
            return existing in (FOR_EVER, self.default)
        return existing.same_as(requested)

    def _is_too_long(self, lifetime: Lifetime, now: ClockReading) -> bool:
        remaining = lifetime.remaining(now.wall)
        return bool(self.max_s) and remaining is not None and remaining > self.max_s


UNLIMITED = LifetimeLimits()


# Unset leaves the limit as it is, None returns it to the route's, a number sets it.
Limit = int | UnsetType | None


class LimitChanges(msgspec.Struct, frozen=True):
    """The limits of a stream that change, by the names of the route's settings; 0 means no limit.

    `ttl` is in seconds; None takes it back to the lifetime that the stream was created with.
    """

    retention_age: Limit = UNSET
    retention_size: Limit = UNSET
    retention_messages: Limit = UNSET
    ttl: Limit = UNSET


class StreamLimits(msgspec.Struct, frozen=True):
    """The limits in force for a stream; 0 means none.

    `ttl` is None for a stream that ends at a date. `own` names those that an operator has set.
    """

    retention_age: int
    retention_size: int
    retention_messages: int
    ttl: int | None
    own: tuple[str, ...] = ()


def renew(current: S, new: S) -> bool:
    """Give `current` the fields of `new`; return whether any of them differ."""
    if current == new:
        return False
    for field in current.__struct_fields__:
        setattr(current, field, getattr(new, field))
    return True


def in_force(state: StreamState, retention: Retention) -> Retention:
    """Return the retention of a stream whose route has `retention`: its own takes precedence."""
    own = state.own_retention
    if own is None:
        return retention
    return Retention(
        retention.max_age_s if own.max_age_s is None else own.max_age_s,
        retention.max_bytes if own.max_bytes is None else own.max_bytes,
        retention.max_messages if own.max_messages is None else own.max_messages,
    )


def marked(
    state: StreamState, before: int, now: float, retention: Retention, messages: int = 0
) -> StreamState:
    """Return a stream with marks up to its tail, after `messages` were appended at `now`.

    The tail was at `before`; `retention` is the route's. What closely follows the last mark needs
    none of its own, so that most appends make a stream longer and change nothing else. Messages
    are counted in marks alone.
    """
    retention = in_force(state, retention)
    marks = state.marks
    if not marks or not _is_close(marks[-1], state.tail, now, retention):
        marks = _with_tail(
            _complete(marks, before, now), Mark(now, state.tail, messages), retention
        )
        state = msgspec.structs.replace(state, marks=marks)
    return trimmed(state, now, retention)


def _is_close(last: Mark, tail: int, now: float, retention: Retention) -> bool:
    is_short = not _reaches((tail - last.position) * PARTS, retention.max_bytes)
    return is_short and not retention.max_messages and 0 <= now - last.time < last.open_s


def _complete(marks: tuple[Mark, ...], tail: int, now: float) -> tuple[Mark, ...]:
    """Return the marks with one at the tail, after the last record that had none of its own."""
    if not marks or marks[-1].position >= tail:
        return marks
    last = marks[-1]
    return (*marks, Mark(max(last.time, min(last.time + last.open_s, now)), tail))


def _with_tail(marks: tuple[Mark, ...], tail: Mark, retention: Retention) -> tuple[Mark, ...]:
    """Return the marks with one at the tail, which replaces the last if that is not needed."""
    if len(marks) >= 2:
        moved = Mark(tail.time, tail.position, marks[-1].messages + tail.messages)
        if not _are_distant(marks[-2], moved, retention):
            marks, tail = marks[:-1], moved
    open_s = 0.0
    if not retention.max_messages:
        open_s = retention.max_age_s / PARTS if retention.max_age_s else OPEN_S
    return (*marks, msgspec.structs.replace(tail, open_s=open_s))


def begun(change: Change, now: float, retention: Retention) -> Change:
    """Return the creation of a stream with a mark after its first records."""
    if change.expected is not None or not change.records:
        return change
    return msgspec.structs.replace(change, state=marked(change.state, 0, now, retention))


def _are_distant(earlier: Mark, later: Mark, retention: Retention) -> bool:
    return (
        _reaches((later.time - earlier.time) * PARTS, retention.max_age_s)
        or _reaches((later.position - earlier.position) * PARTS, retention.max_bytes)
        or _reaches(later.messages * PARTS, retention.max_messages)
    )


def _reaches(number: float, limit: int) -> bool:
    return 0 < limit <= number


def trimmed(state: StreamState, now: float, retention: Retention) -> StreamState:
    """Return the stream without what has expired at `now`; a forked stream keeps all.

    `retention` is the route's, here and below.
    """
    retention = in_force(state, retention)
    if not retention:  # not any more
        return msgspec.structs.replace(state, marks=(), trim_at=None)
    marks = _complete(state.marks, state.tail, now)
    over = 0
    after = sum(mark.messages for mark in marks)  # messages after the mark
    for mark in marks:
        after -= mark.messages
        is_over = _is_over(state, mark, now, retention)
        if not is_over and not _reaches(after, retention.max_messages):
            break
        over += 1
    if state.references:
        # The last one is where it will begin once there are no forks.
        remaining = marks[over - 1 :] if over > 1 else state.marks
        return msgspec.structs.replace(state, marks=remaining, trim_at=None)
    first = marks[over - 1].position if over else state.first
    marks = marks[over:] if over else state.marks
    trim_at = marks[0].time + retention.max_age_s if marks and retention.max_age_s else None
    return msgspec.structs.replace(state, first=first, marks=marks, trim_at=trim_at)


def _is_over(state: StreamState, mark: Mark, now: float, retention: Retention) -> bool:
    """Return whether all records before the mark are too old, or too far from the tail."""
    if retention.max_age_s and mark.time + retention.max_age_s <= now:
        return True
    return bool(retention.max_bytes) and mark.position <= state.tail - retention.max_bytes


def trim(state: StreamState, now: float, retention: Retention) -> tuple[Change, ...]:
    """Return the change that removes expired records of an idle stream, with the next look."""
    remaining = trimmed(state, now, retention)
    if remaining == state or state.references:
        return ()
    return (changed(state, remaining),)


def decide_limits(
    state: StreamState,
    changes: LimitChanges,
    now: ClockReading,
    retention: Retention,
    lifetimes: LifetimeLimits,
) -> tuple[Change, ...]:
    """Return the change that gives a stream other limits than its route's.

    The age of records in a stream without marks is unknown. They count as appended `now`, and are
    removed together. Raises BadRequest for a TTL that the stream may not have.
    """
    own = state.own_retention or LEFT_TO_THE_ROUTE
    own = OwnRetention(
        own.max_age_s if changes.retention_age is UNSET else changes.retention_age,
        own.max_bytes if changes.retention_size is UNSET else changes.retention_size,
        own.max_messages if changes.retention_messages is UNSET else changes.retention_messages,
    )
    limited = _with_ttl(state, changes.ttl, now, lifetimes)
    limited = msgspec.structs.replace(limited, own_retention=own or None)
    if in_force(limited, retention) and not state.marks and state.size:
        limited = msgspec.structs.replace(limited, marks=(Mark(now.wall, state.tail),))
    limited = trimmed(limited, now.wall, retention)
    return () if limited == state else (changed(state, limited),)


def _with_ttl(
    state: StreamState, ttl: Limit, now: ClockReading, lifetimes: LifetimeLimits
) -> StreamState:
    """Return the stream with a TTL, which begins now; a repeated creation must still fit it."""
    if ttl is UNSET:
        return state
    created = state.created_lifetime or state.lifetime
    lifetime = created if ttl is None else lifetimes.of_existing(ttl)
    if lifetime.expires_at is not None and lifetime.expires_at <= now.wall:
        raise BadRequest(
            "the Stream-Expires-At that the stream was created with is over: give a ttl in seconds"
        )
    return msgspec.structs.replace(
        state,
        lifetime=lifetime,
        deadline=lifetime.deadline(now),
        created_lifetime=None if lifetime == created else created,
    )
