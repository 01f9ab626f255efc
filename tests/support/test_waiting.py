"""What a wait in vain says."""

from __future__ import annotations

import pytest

from tests.support.waiting import until


async def test_a_wait_ends_when_it_is_so() -> None:
    seen = iter([False, False, True])
    await until(lambda: next(seen), 20)


async def test_a_wait_in_vain_says_for_what_and_how_long() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.\d s in vain for the end of the world"):
        await until(lambda: False, 0.01, "the end of the world")
    never: list[int] = []
    with pytest.raises(AssertionError, match=r"in vain for await until\(lambda: len\(never\) == 1"):
        await until(lambda: len(never) == 1, 0.01)
