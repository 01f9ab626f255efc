"""A cluster whose primaries change under its gateways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.redis.losses import LOST
from tests.faults.disk import append, content, create
from tests.faults.redis_gateway import append_until_taken, redis_gateway
from tests.logs.redis_logs import Hearing, connected
from tests.streams.service import Service
from tests.support.http1 import ask
from tests.support.redis_groups import ClusterServers
from tests.support.waiting import until, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.logs.redis.log import RedisLog
    from tests.support.redis_servers import RedisServer

LOG = "/v1/stream/log"
FIRST = f"{LOG}?offset=-1"
RECORD = 100_000  # the first whole chunk ends with the third
TIMEOUT_S = 240.0


@pytest.fixture
def cluster(processes: None, tmp_path: Path) -> Iterator[ClusterServers]:
    with ClusterServers(tmp_path, replicas=1) as servers:
        yield servers


def _key(path: str) -> str:
    return f"headgate:{{{path}}}"


def _replica(cluster: ClusterServers, node: RedisServer) -> RedisServer:
    return cluster.replicas[cluster.nodes.index(node)]


def _fail_over(cluster: ClusterServers, node: RedisServer) -> None:
    """Kill a node, and have its replica promoted at once, whatever it has missed."""
    replica = _replica(cluster, node)
    node.kill()
    replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
    survivors = [server for server in cluster.servers if server is not node]
    wait_until(
        lambda: all(node.port not in _owners(server) for server in survivors),
        f"{replica!r} to be known in place of {node!r}",
        cluster.output,
    )


def _owners(server: RedisServer) -> set[int]:
    """The ports of those that have slots, as a server knows it."""
    return {int(row[2][1]) for row in server.command("CLUSTER", "SLOTS")}


def _subscriptions(server: RedisServer) -> int:
    """How many hear there of removals."""
    return int(server.command("PUBSUB", "NUMSUB", "headgate:gone")[1])


class HearingAnew(Hearing):
    """Knows whether it hears removals again since the history changed.

    Then a log cuts its connections, whose server may count them for a moment more.
    """

    is_anew = False

    def on_history_change(self) -> None:
        super().on_history_change()
        self.is_anew = False

    def on_missed_removals(self) -> None:
        super().on_missed_removals()
        self.is_anew = True


def _compared(log: RedisLog) -> dict[str, float]:
    return {lost: log.numbers()[f"histories_{lost}"] for lost in LOST}


@pytest.mark.timeout(TIMEOUT_S)
async def test_removals_are_notified_after_the_node_of_the_subscription_has_gone(
    cluster: ClusterServers,
) -> None:
    paths: dict[int, str] = {}
    for number in range(100):
        paths.setdefault(cluster.node_of(_key(f"s{number}")).port, f"s{number}")
    hearing = HearingAnew()
    async with connected(cluster.url, hearing) as log, connected(cluster.url) as other:
        beside = Service(other)
        await until(lambda: hearing.histories >= 1)
        for path in paths.values():
            await beside.create(path)
            log.sharing.follow(path)  # so that it listens to every node
        await until(lambda: set(paths.values()) <= set(hearing.missing))
        lost = next(node for node in cluster.nodes if _subscriptions(node))
        await asyncio.to_thread(_fail_over, cluster, lost)
        # The node that has taken over is compared with what the one before it had acknowledged.
        await until(lambda: all(any(_compared(it).values()) for it in (log, other)))
        assert _compared(other)["unknown"] == 0
        await until(lambda: hearing.is_anew)
        removals = []
        for number in range(10):
            removals.append((f"new{number}", (await beside.create(f"new{number}")).state.stream_id))
            await beside.lifecycle.delete(f"new{number}")
        await until(lambda: len(hearing.removals) >= len(removals))
        assert sorted(hearing.removals) == sorted(removals)


def _cut_replication(node: RedisServer, replica: RedisServer) -> None:
    """From here on the node acknowledges what its replica does not get."""
    at = node.info("replication")["master_repl_offset"]
    wait_until(
        lambda: replica.info("replication")["slave_repl_offset"] >= at,
        f"{replica!r} to have everything",
        replica.output,
    )
    # A primary without a password refuses who sends one.
    replica.command("CONFIG", "SET", "masterauth", "wrong")
    node.command("CLIENT", "KILL", "TYPE", "replica")
    wait_until(
        lambda: node.info("replication")["connected_slaves"] == 0,
        f"{node!r} to lose its replica",
        node.output,
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S)
def test_data_lost_in_a_failover_are_served_from_no_cache(cluster: ClusterServers) -> None:
    node = cluster.node_of(_key("log"))
    with redis_gateway(cluster.url) as gateway, redis_gateway(cluster.url) as other:
        create(gateway, "log")
        kept = append(gateway, "log", b"kept".ljust(RECORD, b".")).next_offset
        _cut_replication(node, _replica(cluster, node))
        lost = [append(gateway, "log", b"lost".ljust(RECORD, b".")).next_offset for _ in range(3)]
        ask(other.port, "GET", FIRST)
        cached = ask(other.port, "GET", FIRST)
        assert "; hit" in cached.headers["cache-status"], cached.headers
        assert cached.body.count(b"lost") == 2
        assert cached.next_offset == lost[1]
        _fail_over(cluster, node)
        wait_until(
            lambda: b"lost" not in ask(other.port, "GET", FIRST).body,
            "the loss to be known",
            other.output,
        )
        for number in range(3):
            append_until_taken(gateway, "log", (b"new%d" % number).ljust(RECORD, b"."))
        whole = content(gateway, "log")
        assert whole.startswith(b"kept")
        assert (len(whole), b"lost" in whole) == (4 * RECORD, False)
        assert content(other, "log") == whole
        for asked in (gateway, other):
            assert ask(asked.port, "GET", f"{LOG}?offset={kept}").body.startswith(b"new0")
            for offset in lost:
                ask(asked.port, "GET", f"{LOG}?offset={offset}").assert_problem(410, "lost")
