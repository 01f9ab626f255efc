"""What becomes known once is told to all who wait for it, and to who asks later."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cache.told import Told
from gateway.errors import OriginBroken


async def test_a_task_that_waits_goes_on_when_it_is_told() -> None:
    told: Told[int] = Told()
    waiting = asyncio.create_task(told.wait())
    await asyncio.sleep(0)
    told.set_result(7)
    assert await waiting
    assert (told.done(), told.result(), told.exception()) == (True, 7, None)
    assert await told.wait()


async def test_an_error_is_raised_for_who_asks_for_the_value() -> None:
    told: Told[int] = Told()
    told.set_exception(OriginBroken("cut"))
    assert await told.wait()
    with pytest.raises(OriginBroken):
        told.result()


async def test_who_waits_for_a_time_hears_that_it_was_not_told() -> None:
    told: Told[int] = Told()
    assert not await told.wait(0.001)
    told.set_result(7)
    assert await told.wait(0.001)


async def test_who_is_cancelled_is_told_no_more() -> None:
    told: Told[int] = Told()
    leaves, stays = asyncio.create_task(told.wait()), asyncio.create_task(told.wait())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.wait([leaves])
    told.set_result(7)
    assert await stays
