"""Offsets: their text, their order, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.streams.offsets import (
    MAX_POSITION,
    Offset,
    format_offset,
    parse_offset,
)

FIELD = st.integers(min_value=0, max_value=MAX_POSITION)


@pytest.mark.parametrize(
    ("generation", "position", "text"),
    [
        (0, 0, "0000000000000000_0000000000000000"),
        (1, 20, "0000000000000001_0000000000000020"),
        (MAX_POSITION, MAX_POSITION, "9999999999999999_9999999999999999"),
    ],
)
def test_an_offset_is_two_padded_numbers(generation: int, position: int, text: str) -> None:
    assert format_offset(generation, position) == text
    assert parse_offset(text, "offset") == Offset(generation, position)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "now",
        "0",
        "0000000000000000_000000000000000",
        "0000000000000000_00000000000000000",
        "0000000000000000-0000000000000000",
        " 0000000000000000_0000000000000000",
        pytest.param("0000000000000000_0000000000000000\n", id="a-newline-behind-it"),
        "00000000000000٠0_0000000000000000",
        "000000000000000a_0000000000000000",
        "+000000000000000_0000000000000000",
    ],
)
def test_a_malformed_offset_is_refused_with_its_field_name(text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_offset(text, "Stream-Fork-Offset")
    assert refusal.value.detail == (
        "Stream-Fork-Offset is malformed: give back a Stream-Next-Offset value unchanged"
    )


@given(st.tuples(FIELD, FIELD), st.tuples(FIELD, FIELD))
def test_offsets_sort_like_their_positions(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (format_offset(*one) < format_offset(*other)) == (one < other)
    assert parse_offset(format_offset(*one), "offset") == one
