"""What a wait in vain says."""

from __future__ import annotations

import pytest

from tests.support.waiting import until, wait_until

IN_VAIN = r"waited 0\.\d s in vain: the end of the world"


async def test_a_wait_ends_when_it_is_so() -> None:
    seen = iter([False, False, True])
    await until(lambda: next(seen))


async def test_a_wait_takes_a_condition_that_waits_itself() -> None:
    seen = iter([False, True])

    async def is_so() -> bool:
        return next(seen)

    await until(is_so)


async def test_a_wait_in_vain_says_for_what_and_how_long() -> None:
    with pytest.raises(AssertionError, match=IN_VAIN):
        await until(lambda: False, "the end of the world", within_s=0.01)
    never: list[int] = []
    with pytest.raises(AssertionError, match=r"in vain: await until\(lambda: len\(never\) == 1"):
        await until(lambda: len(never) == 1, within_s=0.01)


def test_a_wait_for_a_server_outlasts_its_absence() -> None:
    seen = iter([ConnectionRefusedError(), None])

    def answers() -> bool:
        if (refused := next(seen)) is not None:
            raise refused
        return True

    wait_until(answers)


def test_a_wait_for_a_server_in_vain_says_what_it_told() -> None:
    with pytest.raises(AssertionError, match=rf"{IN_VAIN}\nits log"):
        wait_until(lambda: False, "the end of the world", lambda: "its log", within_s=0.01)
