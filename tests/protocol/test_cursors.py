"""Cursors: they grow, and readers who ask the same are answered the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.protocol.cursors import (
    EPOCH_S,
    INTERVAL_S,
    MAX_JITTER_INTERVALS,
    next_cursor,
    parse_cursor,
)

LARGEST = 10**16 - 1
NOW = st.floats(min_value=EPOCH_S, max_value=EPOCH_S + 10**10)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), (str(LARGEST), LARGEST)])
def test_a_cursor_is_a_whole_number(text: str, number: int) -> None:
    assert parse_cursor(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.0", " 1", "1\n", "x", "1" * 19, "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_cursor(text)
    assert refusal.value.detail == (
        "cursor is malformed: give back a Stream-Cursor value unchanged"
    )


@pytest.mark.parametrize(
    ("seconds", "echoed", "cursor"),
    [
        (0, None, 0),
        (19.999, None, 0),
        (20, None, 1),
        (39.999, None, 1),
        (2000, None, 100),
        (2000, 0, 100),
        (2000, 99, 100),
    ],
)
def test_a_cursor_that_time_has_passed_becomes_the_present_interval(
    seconds: float, echoed: int | None, cursor: int
) -> None:
    assert next_cursor(EPOCH_S + seconds, echoed, "7:11") == cursor


@given(NOW, st.integers(0, 10**9), st.text())
def test_a_cursor_never_goes_backwards_and_grows_by_an_hour_at_most(
    now: float, ahead: int, place: str
) -> None:
    current = int(now - EPOCH_S) // INTERVAL_S
    echoed = current + ahead
    answer = next_cursor(now, echoed, place)
    assert echoed < answer <= echoed + MAX_JITTER_INTERVALS
    # The same for everybody who asks the same, however much later within the jitter.
    assert next_cursor(now + 1, echoed, place) == answer or ahead == 0


def test_the_step_differs_between_streams_and_positions_and_cursors() -> None:
    now = EPOCH_S + 1000.0
    steps = {
        next_cursor(now, 100 + more, f"{stream}:{position}") - 100 - more
        for more in range(3)
        for stream in range(5)
        for position in range(5)
    }
    assert len(steps) > 30


@given(st.integers(0, LARGEST))
@example(LARGEST)
@example(LARGEST - 1)
def test_an_answered_cursor_is_one_that_is_taken_back(echoed: int) -> None:
    answer = next_cursor(EPOCH_S + 1000.0, echoed, "7:11")
    assert parse_cursor(str(answer)) == answer
