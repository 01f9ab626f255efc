"""Cursors: they grow, and readers who ask the same are answered the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_gateway.protocol.streams.offsets import (
    EPOCH_S,
    INTERVAL_S,
    LARGEST,
    MAX_JITTER_INTERVALS,
    current_cursor,
    cursor_floor,
    next_cursor,
    parse_cursor,
)

FURTHEST = LARGEST - MAX_JITTER_INTERVALS  # that can be moved on
NOW = st.floats(min_value=EPOCH_S, max_value=EPOCH_S + 10**10)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), (str(FURTHEST - 1), FURTHEST - 1), (str(FURTHEST), FURTHEST)],
)
def test_a_cursor_is_parsed_as_a_whole_number(text: str, number: int) -> None:
    assert parse_cursor(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1.0",
        " 1",
        pytest.param("1\n", id="a-newline"),
        "x",
        str(FURTHEST + 1),
        "0" * 17,
        "1" * 19,
        pytest.param("9" * 5000, id="five-thousand-digits"),
        "٣",
    ],
)
def test_a_cursor_that_no_server_issued_is_ignored(text: str) -> None:
    assert parse_cursor(text) is None


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
def test_an_elapsed_cursor_is_replaced_by_the_present_interval(
    seconds: float, echoed: int | None, cursor: int
) -> None:
    assert next_cursor(EPOCH_S + seconds, echoed, "7:11") == cursor


@given(NOW, st.integers(0, 10**9), st.text())
def test_a_cursor_grows_by_an_hour_at_most_each_time(now: float, ahead: int, place: str) -> None:
    current = int(now - EPOCH_S) // INTERVAL_S
    echoed = current + ahead
    answer = next_cursor(now, echoed, place)
    assert echoed < answer <= echoed + MAX_JITTER_INTERVALS
    # The same for everybody who asks the same, however much later within the jitter.
    assert next_cursor(now + 1, echoed, place) == answer or ahead == 0


@pytest.mark.parametrize("place", ["7:11", "v1/stream/s:0000000000000000_0000000000262144"])
def test_each_of_ten_thousand_cursors_is_followed_by_a_later_one(place: str) -> None:
    cursors = range(10_000)
    assert [one for one in cursors if next_cursor(EPOCH_S, one, place) <= one] == []


def test_cursor_steps_differ_between_streams_positions_and_cursors() -> None:
    now = EPOCH_S + 1000.0
    steps = {
        next_cursor(now, 100 + more, f"{stream}:{position}") - 100 - more
        for more in range(3)
        for stream in range(5)
        for position in range(5)
    }
    assert len(steps) > 30


@given(
    NOW,
    st.integers(min_value=0).map(str)
    | st.integers(0, LARGEST).map(str)
    | st.integers(FURTHEST - 2, FURTHEST + 2).map(str)
    | st.text("0123456789", max_size=20)
    | st.text(),
    st.text(),
)
@example(EPOCH_S, "9" * 18, "7:11")
def test_any_cursor_text_gets_another_valid_cursor(now: float, text: str, place: str) -> None:
    for answer in (next_cursor, cursor_floor):
        echoed = parse_cursor(text)
        given_out = answer(now, echoed, place)
        assert 0 <= given_out <= LARGEST
        assert str(given_out) != text or given_out == 0
        if given_out <= FURTHEST:
            assert parse_cursor(str(given_out)) == given_out


@given(NOW, st.text())
def test_the_largest_cursor_is_followed_by_the_present_interval(now: float, place: str) -> None:
    echoed = parse_cursor(str(next_cursor(now, FURTHEST, place)))
    assert echoed is None
    assert next_cursor(now, echoed, place) == current_cursor(now)
