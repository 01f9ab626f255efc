"""A row of a table of tests has an id that says its condition."""

from __future__ import annotations

from http import HTTPMethod

import pytest

from tests.support.row_ids import LONGEST, MOST_ITEMS, row_id

VALUES: list[object] = [
    object(),
    lambda: None,
    {1, 2},
    [object()],
    "a" * (LONGEST + 1),
    "two\nlines",
    b"\xff",
    ["x" * LONGEST],
    [1] * (MOST_ITEMS + 1),
    [[[1, {"a": object}]]],
]


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_a_row_whose_value_nobody_reads_is_refused_without_an_id(number: int) -> None:
    with pytest.raises(ValueError, match=r"name the condition of its row, pytest\.param\("):
        row_id(VALUES[number], "body")


def test_a_short_value_is_its_own_id() -> None:
    assert [row_id(value, "body") for value in ("a" * LONGEST, b"[1]", print)] == [None] * 3
    assert row_id(("a", 1), "body") == "('a', 1)"
    assert row_id([1] * MOST_ITEMS, "body") == "[1, 1, 1, 1]"
    assert row_id(HTTPMethod.GET, "body") == "get"
