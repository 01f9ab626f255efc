"""What is refused as the loop comes late, in which order, and when it is let in again."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LimitReached
from headgate_gateway.runtime.shedding import (
    APPENDS,
    APPENDS_AT,
    CALM_IN_A_ROW,
    CALM_SHARE,
    EVERY_S,
    LATE_IN_A_ROW,
    LIVE,
    LIVE_AT,
    READS,
    READS_AT,
    SheddingLevel,
)
from headgate_gateway.web.metrics import snapshot
from tests.support.serving import (
    EDGE,
    PREFIX,
    edge_serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

MOST_S = 1.0
ORDINARY = "X-Request-Id:mine"  # keeps a request from the fast path


def shedding(gateway: Serving, lag_s: float) -> None:
    for _ in range(LATE_IN_A_ROW):
        gateway.services.shedding.add_lag(lag_s)


def tells(gateway: Serving) -> float:
    """What a scrape tells of it."""
    numbers = snapshot(gateway.services, gateway.routes)
    (told,) = [it.number for it in numbers if it.metric.name == "headgate_shedding"]
    return told


async def levels(lags: list[float]) -> list[int]:
    found = []
    async with serving(max_loop_lag=MOST_S) as gateway:
        for lag in lags:
            gateway.services.shedding.add_lag(lag)
            found.append(int(gateway.services.shedding.level))
    return found


# ---------------------------------------------------------------- the steps


async def test_the_shed_level_rises_to_the_step_of_two_late_measurements_in_a_row() -> None:
    assert set(await levels([0.999 * READS_AT] * 20)) == {0}
    assert set(await levels([60.0, 0.0, 60.0, 0.0])) == {0}
    assert await levels([READS_AT, READS_AT]) == [0, 1]
    assert await levels([LIVE_AT, LIVE_AT]) == [0, 2]
    assert await levels([APPENDS_AT, APPENDS_AT]) == [0, 3]
    assert await levels([APPENDS_AT, READS_AT, LIVE_AT, LIVE_AT, 99]) == [0, 1, 1, 2, 2]


async def test_the_shed_level_falls_by_one_after_a_second_of_calm() -> None:
    calm = [0.0] * (CALM_IN_A_ROW - 1)
    half = MOST_S * CALM_SHARE
    assert await levels([2.0, 2.0, *calm]) == [0, *[2] * CALM_IN_A_ROW]
    assert (await levels([2.0, 2.0, *calm, 0.0]))[-1] == 1
    assert (await levels([2.0, 2.0, *calm, 0.0, *calm]))[-1] == 1
    assert (await levels([2.0, 2.0, *calm, 0.0, *calm, 0.0]))[-1] == 0
    assert (await levels([1.0, 1.0, *calm, half, *calm]))[-1] == 1  # it begins anew
    assert (await levels([1.0, 1.0, *calm, half, *calm, 0.0]))[-1] == 0


async def test_a_lag_around_the_limit_does_not_toggle_the_shed_level() -> None:
    found = await levels([0.9, 1.1, 1.1, 0.9, 0.6, 1.1] * 50)
    changes = sum(one != other for one, other in pairwise(found))
    assert changes == 1


async def test_without_max_loop_lag_nothing_is_shed() -> None:
    async with serving(max_loop_lag=0.0) as gateway:
        shedding(gateway, 1e6)
        assert gateway.services.shedding.level == SheddingLevel.NOTHING


# ---------------------------------------------------------------- what each refuses


def assert_shed(answer: Answer) -> None:
    assert answer.status == 503
    assert b"max_loop_lag is reached" in answer.body
    assert answer.get("Retry-After") is not None


@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
async def test_reads_are_shed_first_then_live_readers_then_writes(prefix: str) -> None:
    options: dict[str, object] = {
        "max_loop_lag": MOST_S,
        "long_poll_timeout": 0.05,
        "sse_max_age": 0.05,
    }
    async with serving() as origin, edge_serving(origin, None, **options) as gateway:
        for one in (origin, gateway):
            await one.ask(put("s", body=b"one"))
        asked = {
            "read": get(f"{prefix}/s?offset={offset(3)}&n=1"),
            "poll": get(f"{prefix}/s?offset={offset(3)}&live=long-poll"),
            "events": get(f"{prefix}/s?offset=-1&live=sse"),
            "append": post(f"{prefix}/s", b"x"),
            "create": put(f"{prefix}/t"),
        }
        refused = []
        for lag_s in (0.0, READS_AT, LIVE_AT, APPENDS_AT):
            shedding(gateway, lag_s)
            answers = {name: await gateway.ask(request) for name, request in asked.items()}
            refused.append({name for name, it in answers.items() if it.status == 503})
            for name in refused[-1]:
                assert_shed(answers[name])
            asked["read"] = get(f"{prefix}/s?offset={offset(3)}&n={lag_s}")
        reads, live, writes = {"read"}, {"poll", "events"}, {"append", "create"}
        assert refused == [set(), reads, reads | live, reads | live | writes]
        assert gateway.limits.refused["max_loop_lag"] == sum(map(len, refused))


async def test_cached_reads_waiting_polls_and_appends_are_served_while_live_is_shed() -> None:
    async with serving(max_loop_lag=MOST_S) as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s?offset=-1"))
        waiting = await gateway.connect()
        waiting.send(get(f"s?offset={offset(3)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 1)
        shedding(gateway, LIVE_AT)
        for extra in ((), (ORDINARY,)):
            answer = await gateway.ask(get("s?offset=-1", *extra))
            assert (answer.status, answer.get("X-Cache")) == (200, "HIT")
        assert (await gateway.ask(post("s", b"two"))).status == 204
        assert (await waiting.answer()).body == b"two"
        assert (await gateway.ask(request("HEAD", "s"))).status == 503  # a read of the log


async def test_a_late_event_loop_sheds_reads_and_serves_them_again_when_it_is_calm() -> None:
    async with serving(max_loop_lag=0.05) as gateway:
        await gateway.ask(put("s", body=b"one"))
        loop = asyncio.get_running_loop()
        stalls = True

        def stall() -> None:
            time.sleep(EVERY_S + 0.06)  # so each measurement is late, whenever it begins
            if stalls:
                loop.call_soon(stall)

        gateway.services.shedding.start()
        stall()
        await until(lambda: gateway.services.shedding.level >= READS)
        assert tells(gateway) == 1
        assert_shed(await gateway.ask(get("s?offset=-1")))
        stalls = False
        await until(lambda: gateway.services.shedding.level == SheddingLevel.NOTHING)
        assert (await gateway.ask(get("s?offset=-1"))).status == 200
        assert tells(gateway) == 0
        gateway.services.shedding.stop()


async def test_a_shed_request_is_refused_with_its_kind_in_the_message() -> None:
    async with serving(max_loop_lag=MOST_S) as gateway:
        shedding(gateway, APPENDS_AT)
        for what, words in ((READS, "not cached"), (LIVE, "live"), (APPENDS, "writes")):
            with pytest.raises(LimitReached, match=words):
                gateway.services.shedding.check(what)
