"""Redis, gateways and connections die under load: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.ledger import Faults
from tests.faults.redis_torture import EVERY_WRITE, STREAMS, Kills, Primaries, Report, torture
from tests.faults.tears import tearable
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GATEWAYS = 3
READERS = 4 * STREAMS
SEED = 7


def _run(origin: str, redis: Sequence[RedisServer], kills: Kills) -> Report:
    async def run() -> Report:
        async with Primaries(origin, redis, GATEWAYS, SEED) as primaries:
            return await torture(primaries, kills, SEED, READERS)

    report = asyncio.run(run())
    print(report)  # noqa: T201 - the figures are what a run is for
    return report


def _assert_clean(report: Report) -> None:
    assert report.faults == Faults(), "\n".join([str(report), *report.faults.notes])
    assert report.gaps == 0, "\n".join([str(report), *report.faults.notes])


@pytest.mark.usefixtures("processes")
def test_the_torture_checker_finds_a_redis_that_forgets(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        report = _run(server.url, [server], Kills(redis=1, gateways=0))
    assert not report.is_clean()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_appends_through_kills_of_redis_and_gateway_are_neither_lost_nor_stored_twice(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path, tearable(tmp_path), **EVERY_WRITE) as server:
        report = _run(server.url, [server], Kills(redis=1, gateways=2, tears=1))
    _assert_clean(report)
    assert report.redis_kills >= 1
    assert (report.gateway_kills, report.tears) == (2, 1)
    assert report.read_ends == READERS
    assert report.cuts >= READERS // 8  # how many depends on how long the machine takes
    assert report.acked >= 300


@pytest.mark.torture("one server, and each loss of a node alone in test_redis_cluster.py")
@pytest.mark.timeout(180)
def test_appends_through_kills_of_a_cluster_node_are_neither_lost_nor_stored_twice(
    tmp_path: Path,
) -> None:
    environment = tearable(tmp_path)
    with ClusterServers(tmp_path, options=EVERY_WRITE, environment=environment) as cluster:
        report = _run(cluster.url, cluster.nodes, Kills(redis=1, gateways=1, tears=1))
    _assert_clean(report)
    assert report.redis_kills >= 1
    assert (report.gateway_kills, report.tears) == (1, 1)
    assert report.read_ends == READERS
