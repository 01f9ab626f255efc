"""Subscriptions in a Redis behind sentinels, whose primary is killed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.subscriptions.campaign import Campaign
from tests.subscriptions.receivers import ends_of, log_at, receiver, subscribed
from tests.subscriptions.test_kills import play
from tests.subscriptions.wake_book import AWAY
from tests.support import given_settings
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate
from tests.support.redis_groups import SentinelGroup
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.subscriptions.campaign import Disturbance
    from tests.subscriptions.receivers import Receiver, Subscribed

SEED = 29
FAILOVERS = 10 if IS_WHOLE else 2
SAFE = {"prefix": "/v1/stream", "wait_replicas": 1}  # the replica that has most is promoted
COUNTS = [
    pytest.param(1, id="one-gateway", marks=pytest.mark.torture("two gateways do the same")),
    pytest.param(2, id="two-gateways"),
]

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(1800)]


def failovers_of(group: SentinelGroup) -> Disturbance:
    """Return failovers: the primary is killed, and comes back as a replica of another."""

    def fail_over() -> None:
        group.await_in_sync()
        lost = group.primary()
        lost.kill()
        group.await_failover(lost)
        lost.start()

    async def disturb(_chance: random.Random) -> None:
        await asyncio.to_thread(fail_over)

    return disturb


def gateways(count: int, log: str) -> list[Headgate]:
    """Return gateways whose acknowledged writes no failover loses."""
    made = [Headgate() for _ in range(count)]
    for gateway in made:
        gateway.serve_routes({**SAFE, **given_settings.at(log)})
    return made


@pytest.mark.parametrize("count", COUNTS)
def test_every_append_is_acknowledged_though_gateways_and_the_primary_are_killed(
    tmp_path: Path, count: int
) -> None:
    with SentinelGroup(tmp_path) as group:
        servers = gateways(count, group.url)
        play(Campaign(servers, SEED, [failovers_of(group)]), FAILOVERS)


def lose_primary(group: SentinelGroup) -> None:
    """Kill a primary whose replicas were cut off; what it acknowledged since then is lost."""
    lost = group.primary()
    lost.kill()
    group.mend_replication()
    group.await_failover(lost)


@contextlib.asynccontextmanager
async def losing(folder: Path) -> AsyncIterator[tuple[Subscribed, Receiver, SentinelGroup]]:
    """A gateway that waits for no replica, and a receiver of its subscription."""
    with SentinelGroup(folder) as group:
        async with subscribed(log_at(group.url)) as gateway, receiver() as at:
            await gateway.webhook("s", at, pattern="e/*")
            yield gateway, at, group


async def replicates_no_more(group: SentinelGroup) -> None:
    """Have the primary alone take what follows."""
    await asyncio.to_thread(group.await_in_sync)
    await asyncio.to_thread(group.cut_replication)


async def acknowledged_after(gateway: Subscribed, wake: dict[str, Any]) -> tuple[int, Any]:
    """Return the answer to an ack once the log is there, and some gateway delivers."""
    answers: list[tuple[int, Any]] = []

    async def is_answered() -> bool:
        answers.append(await gateway.callback(wake, *ends_of(wake)))
        return answers[-1][0] not in AWAY

    await until(is_answered, within_s=SERVER_PATIENCE_S)
    return answers[-1]


async def test_a_generation_that_a_failover_has_lost_is_given_again_and_its_old_token_refused(
    tmp_path: Path,
) -> None:
    async with losing(tmp_path) as (gateway, at, group):
        await gateway.create("e/a", body=b"[1]")
        first = await at.wake()
        assert (await gateway.callback(first, *ends_of(first)))[0] == 200
        await replicates_no_more(group)
        await gateway.append("e/a")
        lost = await at.wake(2)
        await asyncio.to_thread(lose_primary, group)

        async def is_appended() -> bool:
            return (await gateway.append("e/a")).status == 204

        await until(is_appended, within_s=SERVER_PATIENCE_S)
        await until(lambda: at.wakes[-1]["wake_id"] != lost["wake_id"], within_s=SERVER_PATIENCE_S)
        again = at.wakes[-1]
        assert again["generation"] == lost["generation"]
        status, told = await acknowledged_after(gateway, lost)
        assert (status, told["error"]["code"]) == (409, "FENCED")
        assert (await acknowledged_after(gateway, again))[0] == 200
        assert await gateway.cursors("s") == dict(ends_of(again))


async def test_an_acknowledgement_that_a_failover_has_lost_is_asked_for_again(
    tmp_path: Path,
) -> None:
    async with losing(tmp_path) as (gateway, at, group):
        await gateway.create("e/a", body=b"[1]")
        wake = await at.wake()
        await gateway.quiet()
        await replicates_no_more(group)
        assert (await gateway.callback(wake, *ends_of(wake)))[0] == 200
        await asyncio.to_thread(lose_primary, group)

        async def is_back() -> bool:
            status, told = await gateway.ask("GET", "s")
            return status == 200 and [it["acked_offset"] for it in told["streams"]] == ["-1"]

        def comes_again() -> bool:
            gateway.pass_time(1.0)  # as the receiver takes it for done, the lease ends
            return len(at.wakes) > 1

        await until(is_back, within_s=SERVER_PATIENCE_S)
        await until(comes_again)
        again = at.wakes[1]
        assert ends_of(again) == ends_of(wake)
        assert (await acknowledged_after(gateway, again))[0] == 200
