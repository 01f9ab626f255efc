"""Retention: which part of a stream is kept no longer, at the granularity of a few marks.

Positions say nothing of time, and a stream may only be cut between records. So a few boundaries
are remembered with the time at which they were the tail, and a stream is cut at one of them.
"""

from __future__ import annotations

import msgspec

from gateway.protocol.streams.state import Change, Mark, OwnRetention, StreamState

# An age may be set later, when it must be known how old records are.
OPEN_S = 24 * 3600.0
PARTS = 8  # marks in what is kept, about: up to an eighth more than was asked for stays


class Retention(msgspec.Struct):
    """The retention of a stream: seconds, bytes and messages that are kept; 0 means all."""

    max_age_s: int = 0
    max_bytes: int = 0
    max_messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.max_age_s or self.max_bytes or self.max_messages)


EVERYTHING = Retention()


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


def with_own(
    state: StreamState, own: OwnRetention, now: float, retention: Retention
) -> StreamState:
    """Return the stream with a retention of its own, trimmed by it; `retention` is its route's.

    Nobody knows how old the records of a stream without marks are. They count as appended `now`,
    and are removed together.
    """
    state = msgspec.structs.replace(state, own_retention=own or None)
    if in_force(state, retention) and not state.marks and state.size:
        state = msgspec.structs.replace(state, marks=(Mark(now, state.tail),))
    return trimmed(state, now, retention)


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
        if not _apart(marks[-2], moved, retention):
            marks, tail = marks[:-1], moved
    open_s = 0.0
    if not retention.max_messages:
        open_s = retention.max_age_s / PARTS if retention.max_age_s else OPEN_S
    return (*marks, msgspec.structs.replace(tail, open_s=open_s))


def begun(change: Change, now: float, retention: Retention) -> Change:
    """Return the creation of a stream with a mark behind its first records."""
    if change.expected is not None or not change.records:
        return change
    return msgspec.structs.replace(change, state=marked(change.state, 0, now, retention))


def _apart(earlier: Mark, later: Mark, retention: Retention) -> bool:
    by_age = retention.max_age_s and (later.time - earlier.time) * PARTS >= retention.max_age_s
    by_size = (
        retention.max_bytes and (later.position - earlier.position) * PARTS >= retention.max_bytes
    )
    return bool(by_age or by_size or _reaches(later.messages * PARTS, retention.max_messages))


def _reaches(number: int, limit: int) -> bool:
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
        # The last one tells where it will begin once there are no forks.
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
    later = msgspec.structs.replace(remaining, version=state.version + 1)
    return (Change(later, state.version, trims=later.first > state.first),)
