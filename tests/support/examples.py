"""What is played on every change, and what only `make torture`, which plays everything.

Of the examples of a property it is a quarter. A test, or a case of one, that is dear and finds
what others find as well is marked with `torture`, which says what stands for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from _pytest.mark import ParameterSet

Value = TypeVar("Value")

WHOLE = 100  # Hypothesis's own number, for properties that do not say another one
IS_WHOLE = os.environ.get("EXAMPLES") == "whole"
SHARE = 4
FEWEST = 20


def examples(number: int = WHOLE) -> int:
    """Return how many of this number of examples are to be tried in this run."""
    return number if IS_WHOLE else min(number, max(FEWEST, number // SHARE))


def at_least(number: int, sure: int = 1) -> int:
    """Return how many of all examples are to be of a kind; of a few, as many as are no chance."""
    return number if IS_WHOLE else sure


def cases(
    values: Iterable[Value], always: Container[Value], stands_for_others: str
) -> list[ParameterSet]:
    """Return parameters of a test: only `make torture` plays those that are not among `always`."""
    rest = pytest.mark.torture(stands_for_others)
    return [pytest.param(one, marks=() if one in always else rest) for one in values]


def spread(product: Iterable[Value], one_of: int) -> list[Value]:
    """Return all of a product in `make torture`, and else one of so many.

    A test that uses it asserts that no value of a factor that matters is missing.
    """
    return [*product][:: 1 if IS_WHOLE else one_of]


def leave_to_torture(
    items: Sequence[pytest.Item],
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of this run, and those that it leaves out."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("torture")
        if mark is not None and not (mark.args and mark.args[0]):
            told = f"{item.nodeid}: say in its mark `torture` what stands for it on every change"
            raise pytest.UsageError(told)
        (kept if mark is None or IS_WHOLE else left).append(item)
    return kept, left
