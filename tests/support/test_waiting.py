"""What a wait in vain says."""

from __future__ import annotations

import pytest

from tests.support.waiting import until, wait_until

IN_VAIN = r"waited 0\.\d s in vain: the end of the world"


async def test_a_wait_that_times_out_says_for_what_and_how_long() -> None:
    with pytest.raises(AssertionError, match=IN_VAIN):
        await until(lambda: False, "the end of the world", within_s=0.01)
    never: list[int] = []
    with pytest.raises(AssertionError, match=r"in vain: await until\(lambda: len\(never\) == 1"):
        await until(lambda: len(never) == 1, within_s=0.01)


def test_a_wait_for_a_server_that_times_out_shows_its_log() -> None:
    with pytest.raises(AssertionError, match=rf"{IN_VAIN}\nits log"):
        wait_until(lambda: False, "the end of the world", lambda: "its log", within_s=0.01)
