"""Subscriptions of a gateway that is killed: nothing is forgotten, and nothing wakes for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.subscriptions.campaign import Campaign, kills_of
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import redis_server
from tests.support.wall_clock import DAY_S, WallClock

if TYPE_CHECKING:
    import random
    from pathlib import Path

KILLS = 100 if IS_WHOLE else 4
SEED = 17
JUMPS_S = (-3600, -5, 0, 2, 3600, 2 * DAY_S)  # from the time that it is

pytestmark = pytest.mark.timeout(1800)


def play(campaign: Campaign, kills: int) -> None:
    """Play a campaign, and judge it."""
    try:
        asyncio.run(campaign.run(kills))
    finally:
        for server in campaign.servers:
            server.kill()
    assert campaign.faults == []
    assert campaign.appends >= kills
    assert campaign.books["pulled"].wakes >= kills
    assert any(book.stale for book in campaign.books.values())
    assert "Traceback" not in "".join(server.output() for server in campaign.servers)


@pytest.mark.usefixtures("processes")
@pytest.mark.smoke
def test_every_append_is_acknowledged_by_a_later_wake_though_the_gateway_is_killed(
    tmp_path: Path,
) -> None:
    play(Campaign([Headgate(f"file:{tmp_path}")], SEED), KILLS)


@pytest.mark.torture("test_clocks.py: a start with another clock takes ten seconds")
def test_every_append_is_acknowledged_by_a_later_wake_though_the_clock_jumps(
    tmp_path: Path,
) -> None:
    clock = WallClock(tmp_path)

    async def set_clock(chance: random.Random) -> None:
        clock.set(chance.choice(JUMPS_S))
        await asyncio.sleep(chance.random() * 0.5)  # the gateway works on by the new time

    # It must not shed load: a clock that is set looks like a loop that was late.
    environment = {**clock.environment, "HEADGATE_LIMITS__MAX_LOOP_LAG": "0"}
    server = Headgate(f"file:{tmp_path / 'data'}", environment=environment)
    play(Campaign([server], SEED, [set_clock]), KILLS // 4)


# With these, a Redis that is killed has all that it has acknowledged.
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.mark.usefixtures("processes")
def test_every_append_is_acknowledged_though_two_gateways_and_their_redis_are_killed(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path, **DURABLE) as redis:
        servers = [Headgate(redis.url) for _ in range(2)]
        play(Campaign(servers, SEED, [kills_of(redis)]), KILLS)


@pytest.mark.usefixtures("processes")
def test_every_append_is_acknowledged_though_gateways_of_a_cluster_and_its_nodes_are_killed(
    tmp_path: Path,
) -> None:
    with ClusterServers(tmp_path, options=DURABLE) as cluster:
        servers = [Headgate(cluster.url) for _ in range(2)]
        play(Campaign(servers, SEED, [kills_of(*cluster.nodes)]), KILLS)
