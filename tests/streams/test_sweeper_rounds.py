"""How the sweeper's rounds follow each other."""

from __future__ import annotations

import asyncio

from gateway.errors import LogUnavailable
from gateway.protocol.state import Lifetime
from gateway.streams.sweeper import EXPIRIES, INTERVAL_S
from tests.streams.gated_log import GatedLog
from tests.streams.service import Service
from tests.support import virtual_time

TTL_S = 10


async def late(count: int) -> tuple[Service, GatedLog]:
    """So many streams whose time is over."""
    log = GatedLog()
    service = Service(log, max_active=10_000)
    for number in range(count):
        await service.create(f"s{number}", lifetime=Lifetime(ttl_s=TTL_S))
    service.clock.advance(10 * TTL_S)
    return service, log


def test_full_rounds_follow_each_other_at_once() -> None:
    async def run() -> None:
        service, _ = await late(3 * EXPIRIES + 1)
        service.sweeper.start()
        await asyncio.sleep(0.5 * INTERVAL_S)
        assert service.sweeper.expired == 0
        await asyncio.sleep(INTERVAL_S)
        assert service.sweeper.expired == 3 * EXPIRIES + 1
        await service.sweeper.stop()

    virtual_time.run(run())


def test_rounds_that_end_nothing_keep_their_distance() -> None:
    """As of a log that refuses: it must not be asked again and again without a pause."""

    async def run() -> None:
        service, log = await late(EXPIRIES)
        log.failures = [LogUnavailable("the disk is full") for _ in range(10 * EXPIRIES)]
        log.committed.clear()
        service.sweeper.start()
        for rounds in (1, 2, 3):
            await asyncio.sleep(INTERVAL_S if rounds > 1 else 1.5 * INTERVAL_S)
            assert len(log.committed) == rounds * EXPIRIES
        assert service.sweeper.expired == 0
        await service.sweeper.stop()

    virtual_time.run(run())


async def test_a_round_tells_whether_there_may_be_more() -> None:
    service, _ = await late(EXPIRIES + 1)
    assert await service.sweeper.round()
    assert not await service.sweeper.round()
    assert service.sweeper.expired == EXPIRIES + 1
    assert not await service.sweeper.round()
