"""A wall clock that is set: leases, pauses and repeats last no longer than they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.subscriptions.delivery.queue import STUCK_AFTER_S
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400.0
DONE = {"done": True}


async def test_a_lease_ends_though_the_clock_is_set_back_by_a_day() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="e/*", lease_ttl_ms=1000)
        await gateway.create("e/a", body=b'{"n":1}')
        assert (await gateway.claim("dead"))[0] == 200
        gateway.pass_time(-DAY_S)
        assert (await gateway.claim("other"))[0] == 409
        gateway.pass_time(1.0)
        assert (await gateway.claim("other"))[0] == 200


async def test_the_timer_itself_finds_that_the_clock_was_set_back() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="e/*", lease_ttl_ms=1000)
        await gateway.create("e/a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        gateway.gateway.clock.advance(-DAY_S)
        delivery = gateway.engine.by_id["s"].delivery
        assert delivery.wake is not None
        await until(lambda: (delivery.wake.lease_until or 0.0) <= gateway.gateway.clock() + 1.0)  # type: ignore[union-attr] # it has one
        gateway.pass_time(1.0)  # the lease ends, and another wake is due behind a pause
        gateway.pass_time(2.0)
        assert (await at.wake(2))["generation"] == 2


async def test_an_attempt_waits_no_longer_than_its_pause_though_the_clock_is_set_back() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        gateway.pass_time(-DAY_S)
        gateway.pass_time(1.3)
        await at.wake(2)


async def test_an_event_that_nobody_claims_is_repeated_though_the_clock_is_set_back() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="e/*")
        await gateway.create("e/a", body=b'{"n":1}')
        await gateway.quiet()
        gateway.pass_time(-DAY_S)
        gateway.pass_time(61.0)
        await gateway.quiet()
        assert len(await gateway.read("wakes")) == 2


async def test_a_clock_set_ahead_makes_no_day_of_failures_out_of_a_few() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        gateway.pass_time(2 * STUCK_AFTER_S)
        await at.wake(2)
        await gateway.quiet()
        gateway.pass_time(3.0)
        await at.wake(3)


@pytest.mark.parametrize("kind", ["lease", "pause"])
async def test_a_gateway_that_starts_with_a_clock_set_back_waits_no_longer(
    kind: str, tmp_path: Path
) -> None:
    async with receiver(status=200 if kind == "lease" else 500) as at:
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            gateway.gateway.clock.advance(DAY_S)
            await gateway.webhook("s", at, pattern="*", lease_ttl_ms=1000)
            await gateway.create("a", body=b'{"n":1}')
            await at.wake()
            await gateway.quiet()
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            gateway.pass_time(1.3)
            gateway.pass_time(1.3)
            await at.wake(2)
