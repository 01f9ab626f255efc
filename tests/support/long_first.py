"""The order of a run on several workers: modules that may take long begin, on half of them."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Test = TypeVar("Test")


def long_first(long: Sequence[Sequence[Test]], others: Sequence[Test], workers: int) -> list[Test]:
    """The tests of long modules, each in one piece, and the others in their own order.

    Every worker is given one part of the list, all of one length, and one that has
    none left takes tests from the end of another's. A long test at the end of its part
    would keep one worker busy when all others have ended. Not every worker begins with long ones:
    more of them than cores would be in one another's way.
    """
    busy = max(1, workers // 2)
    beginnings = [[*chain.from_iterable(long[number::busy])] for number in range(busy)]
    share = (sum(map(len, long)) + len(others)) // workers
    rest = iter(others)
    ordered: list[Test] = []
    for worker in range(workers):
        begins = beginnings[worker] if worker < busy else []
        ordered += begins
        ordered += islice(rest, max(0, share - len(begins)))
    return [*ordered, *rest]
