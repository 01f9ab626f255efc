"""How late a timer comes is measured, however long a turn takes."""

from __future__ import annotations

import time

from headgate_gateway.runtime import shedding
from tests.support.serving import serving
from tests.support.waiting import until

STALL_S = 0.03


async def test_a_long_turn_of_the_loop_is_measured_as_lag() -> None:
    async with serving() as gateway:
        lag = gateway.services.shedding
        lag.start()
        time.sleep(shedding.EVERY_S + STALL_S)
        await until(lambda: sum(lag.late.counts) == 1)
        lag.stop()
    assert lag.late.sum >= STALL_S
    bound = shedding.SECONDS.index(0.025)
    assert sum(lag.late.counts[: bound + 1]) == 0


async def test_loop_lag_is_measured_repeatedly_until_stop() -> None:
    async with serving() as gateway:
        lag = gateway.services.shedding
        lag.start()
        await until(lambda: sum(lag.late.counts) == 3)
        lag.stop()
        assert lag._timer is not None
        assert lag._timer.cancelled()
