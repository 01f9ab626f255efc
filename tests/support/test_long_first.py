"""What may take long begins a worker's part of the tests."""

from __future__ import annotations

from itertools import chain

from tests.support.long_first import long_first

OTHERS = ["a", "b", "c", "d", "e", "f", "g", "h"]
LONG = [["K1", "K2"], ["L1"], ["M1"]]


def test_half_of_the_test_workers_begin_with_whole_long_modules() -> None:
    ordered = long_first(LONG, OTHERS, 4)
    parts = [ordered[start : start + 3] for start in range(0, len(ordered), 3)]
    assert parts == [["K1", "K2", "M1"], ["L1", "a", "b"], ["c", "d", "e"], ["f", "g", "h"]]


def test_ordering_long_modules_first_loses_no_test() -> None:
    for workers in range(1, 20):
        ordered = long_first(LONG, OTHERS, workers)
        assert sorted(ordered) == sorted([*OTHERS, *chain.from_iterable(LONG)]), workers
        assert [one for one in ordered if one in OTHERS] == OTHERS, workers
