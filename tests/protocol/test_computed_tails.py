"""Which offsets are one past an origin's tail, as clients reckon."""

from __future__ import annotations

import pytest

from headgate_gateway.protocol.streams.offsets import is_one_past


@pytest.mark.parametrize(
    ("offset", "end", "is_past"),
    [
        ("0_10", "0_09", True),
        ("0000_0100", "0000_0099", True),
        ("0000_0101", "0000_0099", False),
        ("0000_0099", "0000_0099", False),
        ("0000_0099", "0000_0100", False),
        ("0001_0001", "0000_0000", False),
        ("0001_0100", "0000_0099", False),
        ("0_10", "0_9", False),  # of another length it would not sort
        ("0010", "0009", False),  # may count appends: one of them is lost
        ("a_10", "a_09", False),
        ("0_0_10", "0_0_09", False),
    ],
)
def test_an_offset_is_one_past_an_end_if_its_second_number_is_one_higher(
    offset: str, end: str, *, is_past: bool
) -> None:
    assert is_one_past(offset, end) is is_past
