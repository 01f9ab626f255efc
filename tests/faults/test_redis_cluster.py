"""A cluster that loses a node, moves slots or promotes a replica under its writers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, assert_refused, content, create
from tests.faults.redis_gateway import (
    append_until_taken,
    assert_not_ready,
    await_ready,
    complaints,
    redis_gateway,
)
from tests.faults.redis_writers import PLAIN, STREAMS, Writers
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import HOST
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

TIMEOUT_S = 90.0
DURABLE = {"appendonly": "yes", "appendfsync": "always", "cluster-require-full-coverage": "no"}


def _key(stream: str) -> str:
    return f"headgate:{{{stream}}}"


@pytest.mark.usefixtures("processes")
def test_a_lost_cluster_node_refuses_only_its_own_streams(tmp_path: Path) -> None:
    with (
        ClusterServers(tmp_path, options=DURABLE) as cluster,
        redis_gateway(cluster.url) as gateway,
    ):
        node = cluster.node_of(_key("log"))
        names = (f"other-{number}" for number in range(100))
        others = [name for name in names if cluster.node_of(_key(name)) is not node][:10]
        for name in ("log", *others):
            create(gateway, name, b"first ")
        node.kill()
        assert_refused([append(gateway, "log", b"refused ")])
        assert_not_ready(gateway)
        for name in others:
            assert append(gateway, name, b"second").status == 204
            assert content(gateway, name) == b"first second"
        node.start()
        append_until_taken(gateway, "log", b"second")
        assert content(gateway, "log") == b"first second"
        await_ready(gateway)
        assert complaints(gateway)["log.failed"] == 1


def _move(cluster: ClusterServers, stream: str) -> None:
    """Move a stream's slot to another node, as redis-cli does when it reshards."""
    key = _key(stream)
    slot = int(cluster.nodes[0].command("CLUSTER", "KEYSLOT", key))
    source = next(node for node in cluster.nodes if _owns(node, slot))
    target = next(node for node in cluster.nodes if node is not source)
    source_id, target_id = (node.command("CLUSTER", "MYID") for node in (source, target))
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 1):
        source.command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source, *cluster.nodes):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def _owns(node: RedisServer, slot: int) -> bool:
    own = next(line for line in _nodes(node) if "myself" in line)
    ranges = (part.split("-") for part in own.split()[8:] if not part.startswith("["))
    return any(int(first) <= slot <= int(last) for first, *_, last in ((*r, r[-1]) for r in ranges))


def _nodes(node: RedisServer) -> list[str]:
    return bytes(node.command("CLUSTER", "NODES")).decode().splitlines()


@pytest.mark.torture("slots that move under one stream, in tests/logs/test_redis_cluster.py")
@pytest.mark.timeout(TIMEOUT_S + 30)
async def test_appends_while_cluster_slots_move_are_neither_lost_nor_stored_twice(
    tmp_path: Path,
) -> None:
    with ClusterServers(tmp_path) as cluster, redis_gateway(cluster.url) as gateway:
        writers = Writers(gateway)
        async with asyncio.timeout(TIMEOUT_S), writers.at_work():
            for turn in range(3):
                for number in range(STREAMS):
                    await writers.reach((turn * STREAMS + number) / (4 * STREAMS))
                    await asyncio.to_thread(_move, cluster, f"log{number}")
                await asyncio.to_thread(_move, cluster, PLAIN)
        writers.check()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S + 30)
async def test_writers_continue_after_a_replica_takes_over(tmp_path: Path) -> None:
    with (
        ClusterServers(tmp_path, replicas=1) as cluster,
        redis_gateway(cluster.url) as gateway,
    ):
        writers = Writers(gateway)
        async with asyncio.timeout(TIMEOUT_S), writers.at_work():
            await writers.reach(0.3)
            lost = cluster.node_of(_key("log0"))
            replica = cluster.replicas[cluster.nodes.index(lost)]
            await asyncio.to_thread(_lose, lost, replica)
        writers.check()


def _lose(node: RedisServer, replica: RedisServer) -> None:
    """Kill a node once its replica has all that it acknowledged, and wait for the promotion."""
    node.command("CLIENT", "PAUSE", 60_000, "WRITE")
    at = node.info("replication")["master_repl_offset"]
    wait_until(
        lambda: replica.info("replication")["slave_repl_offset"] >= at,
        f"{replica!r} to have everything",
        replica.output,
    )
    node.kill()
    wait_until(
        lambda: replica.info("replication")["role"] == "master",
        f"{replica!r} to be promoted",
        replica.output,
    )
