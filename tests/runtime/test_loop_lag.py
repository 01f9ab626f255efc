"""How late a timer comes is measured, however long a turn takes."""

from __future__ import annotations

import time

import pytest

from headgate_gateway.runtime.shedding import EVERY_S, SECONDS, STILL_S, LoopLag
from tests.support.log_lines import capture_logs
from tests.support.serving import serving
from tests.support.waiting import until

STALL_S = 0.03


async def test_a_long_turn_of_the_loop_is_measured_as_lag() -> None:
    async with serving() as gateway:
        lag = gateway.services.shedding
        lag.start()
        time.sleep(EVERY_S + STALL_S)
        await until(lambda: sum(lag.late.counts) == 1)
        lag.stop()
    assert lag.late.sum >= STALL_S
    bound = SECONDS.index(0.025)
    assert sum(lag.late.counts[: bound + 1]) == 0


async def test_loop_lag_is_measured_repeatedly_until_stop() -> None:
    async with serving() as gateway:
        lag = gateway.services.shedding
        lag.start()
        await until(lambda: sum(lag.late.counts) == 3)
        lag.stop()
        assert lag._timer is not None
        assert lag._timer.cancelled()


@pytest.mark.parametrize(
    ("late_s", "lines"),
    [(STILL_S - 0.1, []), (STILL_S, [STILL_S]), (28_800.04, [28_800.0])],
    ids=["a-busy-machine", "at-the-bound", "the-machine-slept"],
)
async def test_a_process_says_for_how_long_it_stood_still_once_it_goes_on(
    late_s: float, lines: list[float]
) -> None:
    now = 0.0
    lag = LoopLag(lambda: now, "worker 2")
    with capture_logs() as logged:
        lag.start()
        now += EVERY_S + late_s
        await until(lambda: sum(lag.late.counts) == 2)  # at the second it is in time
        lag.stop()
    assert logged == [
        {
            "event": "process.stood_still",
            "log_level": "warning",
            "process": "worker 2",
            "for_s": for_s,
        }
        for for_s in lines
    ]
