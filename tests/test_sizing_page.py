"""The sums of docs/sizing.md are right."""

from __future__ import annotations

import re

import pytest

from tests.test_docs import document, rows, section

UNITS = {"B": 1, "MB": 10**6, "GB": 10**9}
SUMS = [cells[1] for cells in rows(section(document("sizing.md"), "An example")) if "=" in cells[1]]


def value(text: str) -> float:
    """Return what a sum or product with units amounts to; words beside the numbers do not count."""
    total = 0.0
    for term in text.split(" + "):
        product = 1.0
        for factor in re.findall(r"[×/]?[^×/]+", term):
            number = re.search(r"[\d,.]*\d", factor)
            assert number is not None
            unit = re.search(r"\b(B|MB|GB)\b", factor)
            amount = float(number[0].replace(",", "")) * (UNITS[unit[1]] if unit else 1)
            product = product / amount if factor.startswith("/") else product * amount
        total += product
    return total


def test_the_example_of_the_sizing_page_has_sums() -> None:
    assert len(SUMS) == 6


@pytest.mark.parametrize("row", range(6))
def test_each_sum_in_the_example_of_the_sizing_page_is_right(row: int) -> None:
    computed, _, told = SUMS[row].partition(" = ")
    assert value(computed) == pytest.approx(value(told.partition(" a second")[0]), rel=0.02)
