"""Groups of Redis servers do what the tests that lean on them take for granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.redis_groups import ClusterServers, SentinelGroup

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.torture("what leans on them")


def test_a_sentinel_failover_loses_only_writes_after_the_replication_cut(tmp_path: Path) -> None:
    with SentinelGroup(tmp_path) as group:
        for turn in range(2):  # the second time with the first one's loser as a replica
            kept, missing = f"kept {turn}", f"missing {turn}"
            lost = group.primary()
            lost.command("SET", kept, "1")
            group.await_in_sync()
            group.cut_replication()
            assert lost.command("SET", missing, "1")
            lost.kill()
            group.mend_replication()
            found = group.await_failover(lost)
            assert found is not lost
            assert found.command("EXISTS", kept) == 1
            assert found.command("EXISTS", missing) == 0
            lost.start()
            group.await_in_sync()
            assert group.primary() is found
            assert len(group.replicas()) == 2


def test_a_redis_cluster_stores_every_key_at_the_node_of_its_slot(tmp_path: Path) -> None:
    with ClusterServers(tmp_path, replicas=1) as cluster:
        names = [f"key {number}" for number in range(60)]
        for name in names:
            assert cluster.node_of(name).command("SET", name, "1")
        assert {cluster.node_of(name).port for name in names} == {
            node.port for node in cluster.nodes
        }
