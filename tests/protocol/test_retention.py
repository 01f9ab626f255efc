"""Retention: at least what was asked for is kept, and not much more."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.streams.limits import (
    EVERYTHING,
    OPEN_S,
    PARTS,
    Retention,
    marked,
    trim,
    trimmed,
)
from headgate_gateway.protocol.streams.state import Change, Mark, StreamState

TEXT = "text/plain"
NOW = 1_000_000.0
EMPTY = StreamState("s", 9, 0, TEXT)
AGE = Retention(max_age_s=80)
SIZE = Retention(max_bytes=80)
COUNT = Retention(max_messages=80)
MOST_MARKS = 2 * PARTS + 4  # those of what is kept, and one on either side
replace = msgspec.structs.replace


def appended(
    state: StreamState, size: int, now: float, retention: Retention, messages: int = 0
) -> StreamState:
    """The stream after an append."""
    grown = replace(state, version=state.version + 1, tail=state.tail + size)
    return marked(grown, state.tail, now, retention, messages)


def test_everything_is_retained_without_a_retention_limit() -> None:
    assert not EVERYTHING
    assert all([AGE, SIZE, COUNT, Retention(1, 1)])
    state = replace(EMPTY, tail=10**9)
    assert trim(state, NOW, EVERYTHING) == ()
    # Kept no longer than that it was asked otherwise once.
    marked_once = replace(state, marks=(Mark(0.0, 5),), trim_at=NOW)
    (change,) = trim(marked_once, NOW, EVERYTHING)
    assert change == Change(replace(state, version=1), 0)


# ---------------------------------------------------------------- marks


def places(state: StreamState) -> list[tuple[float, int]]:
    """Return when each mark was set, in seconds from NOW, and its position."""
    return [(mark.time - NOW, mark.position) for mark in state.marks]


def test_records_that_closely_follow_a_mark_need_none_of_their_own() -> None:
    state = appended(EMPTY, 1, NOW, AGE)
    assert places(state) == [(0, 1)]
    marks = state.marks
    for passed in (1, 9.9):
        state = appended(state, 1, NOW + passed, AGE)
        assert state.marks is marks
    state = appended(state, 1, NOW + 10, AGE)
    assert places(state) == [(0, 1), (10, 3), (10, 4)]


def test_records_without_a_mark_get_one_when_the_next_come_late() -> None:
    state = appended(EMPTY, 1, NOW, AGE)
    state = appended(state, 1, NOW + 1, AGE)
    state = appended(state, 1, NOW + 70, AGE)
    assert places(state) == [(0, 1), (10, 2), (70, 3)]
    assert trimmed(state, NOW + 90, AGE).first == 2


def test_records_without_a_mark_are_trimmed_when_all_of_them_are_too_old() -> None:
    state = appended(EMPTY, 1, NOW, AGE)
    state = appended(state, 1, NOW + 9.9, AGE)
    left = trimmed(state, NOW + 80, AGE)
    assert (left.first, left.trim_at, places(left)) == (1, NOW + 90, [(10, 2)])
    assert trimmed(left, NOW + 89.9, AGE) == left
    assert trimmed(left, NOW + 90, AGE).first == 2


def test_a_shorter_age_removes_nothing_that_is_younger() -> None:
    state = appended(EMPTY, 1, NOW, AGE)
    state = appended(state, 1, NOW + 9.9, AGE)
    shorter = Retention(max_age_s=8)
    assert trimmed(state, NOW + 17.8, shorter).first == 1
    assert trimmed(state, NOW + 18, shorter).first == 2


def test_an_age_set_later_removes_nothing_that_is_younger() -> None:
    state = appended(EMPTY, 1, NOW, SIZE)
    state = appended(state, 1, NOW + OPEN_S - 1, SIZE)
    state = appended(state, 1, NOW + OPEN_S + 10, AGE)
    assert places(state) == [(OPEN_S, 2), (OPEN_S + 10, 3)]


# ---------------------------------------------------------------- trimming


def test_a_stream_is_trimmed_at_the_last_expired_mark() -> None:
    marks = (Mark(NOW, 10), Mark(NOW + 10, 20), Mark(NOW + 20, 30), Mark(NOW + 30, 40))
    state = replace(EMPTY, tail=40, marks=marks)
    for now, first, left in [
        (NOW + 79.9, 0, 4),
        (NOW + 80, 10, 3),
        (NOW + 99.9, 20, 2),
        (NOW + 100, 30, 1),
        (NOW + 110, 40, 0),
    ]:
        trim_at = marks[4 - left].time + 80 if left else None
        assert trimmed(state, now, AGE) == replace(
            state, first=first, marks=marks[4 - left :], trim_at=trim_at
        )


@pytest.mark.parametrize(("tail", "first"), [(89, 0), (90, 10), (99, 10), (100, 20), (101, 20)])
def test_data_over_the_size_limit_are_trimmed_from_the_front(tail: int, first: int) -> None:
    state = replace(EMPTY, tail=tail, marks=(Mark(NOW, 10), Mark(NOW, 20), Mark(NOW, tail)))
    assert trimmed(state, NOW, SIZE).first == first
    assert trimmed(state, NOW, SIZE).trim_at is None


@pytest.mark.parametrize(("more", "first"), [(69, 0), (70, 10), (79, 10), (80, 20), (81, 20)])
def test_messages_over_the_limit_are_trimmed_from_the_front(more: int, first: int) -> None:
    tail = Mark(NOW, 30, more)
    state = replace(EMPTY, tail=30, marks=(Mark(NOW, 10, 99), Mark(NOW, 20, 10), tail))
    assert trimmed(state, NOW, COUNT).first == first
    assert trimmed(state, NOW, COUNT).trim_at is None


def test_the_stricter_of_age_and_size_limits_trims_the_stream() -> None:
    both = Retention(max_age_s=80, max_bytes=80)
    old = replace(EMPTY, tail=30, marks=(Mark(NOW, 10), Mark(NOW + 50, 30)))
    assert trimmed(old, NOW + 80, both).first == 10
    long = replace(EMPTY, tail=100, marks=(Mark(NOW, 10), Mark(NOW + 50, 100)))
    assert trimmed(long, NOW + 60, both).first == 10


def test_an_expired_mark_at_the_tail_empties_the_stream() -> None:
    state = appended(EMPTY, 5, NOW, AGE)
    assert state.trim_at == NOW + 80
    left = trimmed(state, NOW + 80, AGE)
    assert (left.first, left.tail, left.marks, left.trim_at) == (5, 5, (), None)
    assert appended(left, 5, NOW + 81, AGE).first == 5


def test_a_stream_without_appends_is_trimmed_by_a_change_of_its_own() -> None:
    state = appended(EMPTY, 5, NOW, AGE)
    assert trim(state, NOW + 79.9, AGE) == ()
    left = replace(state, version=2, first=5, marks=(), trim_at=None)
    assert trim(state, NOW + 80, AGE) == (Change(left, 1, trims=True),)
    assert trim(left, NOW + 1000, AGE) == ()


# ---------------------------------------------------------------- forks


def test_a_source_is_not_trimmed_while_it_has_forks() -> None:
    state = replace(appended(EMPTY, 5, NOW, AGE), references=1)
    for passed in range(0, 1000, 10):
        state = appended(state, 50, NOW + passed, Retention(80, 80))
        assert state.first == 0
    assert trim(state, NOW + 2000, Retention(80, 80)) == ()


def test_a_source_is_trimmed_again_once_it_has_no_forks() -> None:
    state = replace(appended(EMPTY, 5, NOW, AGE), references=1)
    for passed in range(0, 1000, 10):
        state = appended(state, 5, NOW + passed, AGE)
    state = appended(replace(state, references=0), 5, NOW + 1000, AGE)
    assert 70 * 5 < state.first <= state.tail - 8 * 5


def test_the_marks_of_a_source_with_forks_are_bounded() -> None:
    state = replace(EMPTY, references=1)
    for passed in range(10_000):
        state = appended(state, 1, NOW + passed, Retention(80, 80))
    assert len(state.marks) <= 2 * MOST_MARKS


def test_a_source_with_forks_has_no_trim_time_in_the_past() -> None:
    """Else whoever looks after what is due would look at it for ever."""
    state = replace(appended(EMPTY, 5, NOW, AGE), references=1)
    state = trimmed(state, NOW + 100, AGE)
    assert state.trim_at is None or state.trim_at > NOW + 100


# ---------------------------------------------------------------- the whole


class Row(NamedTuple):
    """An append: the position after it, and when it came."""

    end: int
    time: float


APPENDS = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0, 30, width=16)), min_size=1, max_size=120
)


def lived(steps: list[tuple[int, float]], retention: Retention) -> list[tuple[StreamState, float]]:
    """The stream after each append, and when that was."""
    state, now = EMPTY, NOW
    moments = []
    for size, passed in steps:
        now += passed
        state = appended(state, size, now, retention, messages=1)
        moments.append((state, now))
    return moments


@given(APPENDS, st.sampled_from([AGE, SIZE, Retention(80, 80), Retention(1, 0), Retention(0, 1)]))
def test_data_within_the_limits_are_retained_and_at_most_an_eighth_more(
    steps: list[tuple[int, float]], retention: Retention
) -> None:
    rows = [Row(0, NOW)]
    age, size = retention.max_age_s or math.inf, retention.max_bytes or math.inf
    for state, now in lived(steps, retention):
        rows.append(Row(state.tail, now))
        ends = [row.end for row in rows]
        assert state.first in ends
        for begin, row in zip(ends, rows[1:], strict=False):
            is_gone = row.end <= state.first
            asked = now < row.time + age and state.tail - row.end < size
            assert not (is_gone and asked)
            # A mark may be an eighth after what it stands for, or one append, when that is longer.
            by_age = now >= row.time + age * (PARTS + 1) / PARTS
            after = next((end for end in ends if end >= begin + size / PARTS), state.tail)
            assert is_gone or not by_age
            assert is_gone or state.tail - max(after, row.end) < size


@given(APPENDS, st.sampled_from([1, 2, 7, 8, 9, 80]))
def test_messages_within_the_limit_are_retained_and_at_most_an_eighth_more(
    steps: list[tuple[int, float]], limit: int
) -> None:
    ends = []
    for state, _ in lived(steps, Retention(max_messages=limit)):
        ends.append(state.tail)
        kept = len([end for end in ends if end > state.first])
        assert kept >= min(limit, len(ends))
        assert kept <= limit + max(1, limit // PARTS)


@given(APPENDS, st.sampled_from([AGE, SIZE, Retention(80, 80)]))
def test_retention_marks_are_bounded_and_in_order(
    steps: list[tuple[int, float]], retention: Retention
) -> None:
    bound = MOST_MARKS * (2 if retention.max_age_s and retention.max_bytes else 1)
    for state, now in lived(steps, retention):
        assert len(state.marks) <= bound
        positions = [state.first, *(mark.position for mark in state.marks)]
        assert positions == sorted(set(positions))
        times = [mark.time for mark in state.marks]
        assert times == sorted(times)
        assert now - 80 / PARTS < times[-1] <= now or not retention.max_age_s


@given(APPENDS, st.floats(0, 200))
def test_a_stream_is_trimmed_exactly_from_its_trim_time_on(
    steps: list[tuple[int, float]], later: float
) -> None:
    state, now = lived(steps, AGE)[-1]
    assert state.trim_at is not None
    assert state.trim_at > now
    changes = trim(state, now + later, AGE)
    assert bool(changes) == (now + later >= state.trim_at)
    for change in changes:
        assert change.state.trim_at is None or change.state.trim_at > now + later
