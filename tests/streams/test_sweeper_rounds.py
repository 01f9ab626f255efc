"""How the sweeper's rounds follow each other."""

from __future__ import annotations

import asyncio

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.protocol.streams.state import ClockReading, Lifetime
from headgate_gateway.streams.lifecycle import EXPIRIES, INTERVAL_S
from tests.streams.service import Service
from tests.streams.shared_log import SharedLog
from tests.support import virtual_time
from tests.support.gated_log import GatedLog
from tests.support.log_lines import capture_logs

TTL_S = 10


async def late(count: int) -> tuple[Service, GatedLog]:
    """So many streams whose time is over."""
    log = GatedLog()
    service = Service(log, max_active=10_000)
    for number in range(count):
        await service.create(f"s{number}", lifetime=Lifetime(ttl_s=TTL_S))
    service.clock.advance(10 * TTL_S)
    return service, log


def test_full_sweeper_rounds_follow_each_other_without_an_interval() -> None:
    async def run() -> None:
        service, _ = await late(3 * EXPIRIES + 1)
        service.sweeper.start()
        await asyncio.sleep(0.5 * INTERVAL_S)
        assert service.sweeper.expired == 0
        await asyncio.sleep(INTERVAL_S)
        assert service.sweeper.expired == 3 * EXPIRIES + 1
        await service.sweeper.stop()

    virtual_time.run(run())


def test_sweeper_rounds_that_remove_nothing_keep_their_interval() -> None:
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


async def test_a_sweeper_round_reports_whether_more_may_be_due() -> None:
    service, _ = await late(EXPIRIES + 1)
    assert await service.sweeper.round()
    assert not await service.sweeper.round()
    assert service.sweeper.expired == EXPIRIES + 1
    assert not await service.sweeper.round()


class BehindLog(SharedLog):
    """A log whose server's clock is behind by `behind_s`."""

    behind_s = 0.0

    async def removal_time(self, now: ClockReading) -> ClockReading:
        return ClockReading(now.wall - self.behind_s, now.steady - self.behind_s)


async def test_a_stream_not_expired_by_the_clock_of_the_log_is_not_removed() -> None:
    log = BehindLog()
    service = Service(log)
    for name, ttl_s in (("short", TTL_S), ("long", 100 * TTL_S)):
        await service.create(name, lifetime=Lifetime(ttl_s=ttl_s))
    service.clock.advance(200 * TTL_S)
    log.behind_s = 150.0 * TTL_S
    with capture_logs() as lines:
        for _ in range(2):
            await service.sweeper.round()
    assert [(line["event"], line["by_s"], line["count"]) for line in lines] == [
        ("clock.ahead", 150.0 * TTL_S, 2)
    ]
    assert service.sweeper.expired == 1
    # Listed for another reason, such as records that are too old, it stays as well.
    assert not await service.lifecycle.expire("long", await log.removal_time(service.steady()))
    log.behind_s = 0.0
    await service.sweeper.round()
    assert service.sweeper.expired == 2
