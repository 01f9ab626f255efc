"""Servers that belong together, those that are reached in other ways, and what is said of them."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.redis_doctor.asking import ServerUnreachable, ask
from headgate_gateway.tools.redis_doctor.groups import cluster, sentinels
from headgate_gateway.tools.redis_doctor.report import examine
from tests.commands.conftest import CERTIFICATE
from tests.commands.examining import found, only, route_to
from tests.support.ports import free_port
from tests.support.redis_groups import ClusterServers, SentinelGroup
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# ---------------------------------------------------------------- groups of servers


@pytest.fixture(scope="module")
def group(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path_factory.mktemp("sentinel")) as started:
        yield started


def test_doctor_redis_says_what_a_sentinel_failover_can_lose(group: SentinelGroup) -> None:
    told = found(group.url)
    assert only(told, "sentinels", "3 sentinels know the service").level == "ok"
    assert only(told, "replication", "wait_replicas 0: a failover loses").level == "note"
    isolated = only(told, "replication", "min-replicas-to-write 0")
    assert isolated.level == "warning"
    assert "serves reads that may be old" in isolated.advice
    assert only(told, "persistence", "its replicas copy the empty server").level == "error"


def test_doctor_redis_says_that_an_isolated_primary_serves_old_reads(group: SentinelGroup) -> None:
    primary = group.primary()
    primary.command("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        told = only(found(group.url), "replication", "min-replicas-to-write 1")
    finally:
        primary.command("CONFIG", "SET", "min-replicas-to-write", "0")
    assert told.level == "note"
    assert "serves reads that may be old" in told.says


@pytest.mark.parametrize(("replicas", "level"), [(2, "ok"), (3, "error")])
def test_wait_replicas_beyond_the_connected_replicas_is_an_error(
    group: SentinelGroup, replicas: int, level: str
) -> None:
    told = found(group.url, wait_replicas=replicas)
    assert (
        only(told, "replication", f"wait_replicas {'' if level == 'ok' else 'is '}").level == level
    )


def test_the_url_of_a_replica_is_an_error(group: SentinelGroup) -> None:
    told = only(found(group.replicas()[0].url), "replication", "This is a replica of 127.0.0.1:")
    assert told.level == "error"


def test_replicas_without_a_sentinel_to_promote_them_are_noted(group: SentinelGroup) -> None:
    told = only(found(group.primary().url), "replication", "2 replicas, and no automatic failover")
    assert told.level == "note"


def test_an_unreachable_sentinel_is_a_warning(group: SentinelGroup) -> None:
    gone = f"127.0.0.1:{free_port()}"
    url = group.url.replace("redis+sentinel://", f"redis+sentinel://{gone},")
    assert only(found(url), "sentinels", f"{gone}: ").level == "warning"


def test_a_service_unknown_to_its_sentinels_raises_server_unreachable(group: SentinelGroup) -> None:
    with pytest.raises(ServerUnreachable, match="No such master with that name"):
        found(group.url.replace("/headgate", "/other"))


def test_sentinels_without_a_quorum_are_an_error(group: SentinelGroup) -> None:
    views = ask(route_to(group.url)).sentinels
    torn = dataclasses.replace(views[0], why_no_quorum="NOQUORUM 1 usable Sentinels")
    assert only(sentinels((torn, *views[1:])), "sentinels", "NOQUORUM").level == "error"
    few = dataclasses.replace(views[0], fields={**views[0].fields, "num-other-sentinels": 1})
    told = list(sentinels([few]))
    assert only(told, "sentinels", "2 sentinels: the loss of one").level == "warning"
    assert only(told, "sentinels", "The URL names one sentinel").level == "note"


@pytest.mark.usefixtures("processes")
def test_doctor_redis_examines_each_primary_of_a_cluster_and_its_slots(tmp_path: Path) -> None:
    with ClusterServers(tmp_path, nodes=3) as nodes:
        parts = list(examine(ask(route_to(nodes.url))))
        told = [it for part in parts for it in part.findings]
        assert [part.title for part in parts[:1]] == ["Cluster"]
        assert sorted(part.title for part in parts[1:]) == sorted(
            f"Redis at {node.address}" for node in nodes.nodes
        )
        assert only(told, "cluster", "All 16,384 slots are served by 3 primary nodes").level == "ok"
        assert only(told, "cluster", "Without a replica: ").level == "warning"
        assert [it.level for it in told if it.about == "replication"] == ["warning"] * 3

        view = ask(route_to(nodes.url)).cluster
        assert view is not None
        torn = dataclasses.replace(
            view, info={"cluster_state": "fail", "cluster_slots_ok": "10923"}
        )
        assert only(cluster(torn, ()), "cluster", "10,923 of 16,384 slots").level == "error"
        few = dataclasses.replace(view, replicas={"h:1": 1, "h:2": 1})
        assert only(cluster(few, ()), "cluster", "at least three are needed").level == "warning"

        first = nodes.nodes[0]
        first.kill()
        gone = nodes.url.replace(f"{nodes.nodes[1].address},", "")
        wait_until(
            lambda: all(
                b"cluster_state:fail" in node.command("CLUSTER", "INFO") for node in nodes.nodes[1:]
            ),
            "the cluster to miss a node",
            nodes.output,
        )
        told = found(gone)
        assert (
            only(told, "cluster", f"A primary cannot be asked, {first.address}: ").level == "error"
        )
        assert only(told, "cluster", "of the others get 503").level == "error"


@pytest.mark.usefixtures("processes")
def test_a_cluster_with_replicas_gets_no_warning_of_missing_replicas(tmp_path: Path) -> None:
    with ClusterServers(tmp_path, nodes=3, replicas=1) as nodes:
        wait_until(
            lambda: all(
                bytes(node.command("CLUSTER", "NODES")).count(b" slave ") == 3
                and node.info("replication")["slave0"]["state"] == "online"
                for node in nodes.nodes
            ),
            "every node to know all replicas",
            nodes.output,
        )
        told = found(nodes.url)
        assert "Without a replica" not in " ".join(it.says for it in told)
        assert [it.level for it in told if "min-replicas-to-write 0" in it.says] == ["warning"] * 3


# ---------------------------------------------------------------- ways to reach it


@pytest.mark.usefixtures("processes")
def test_doctor_redis_reaches_a_redis_by_unix_socket(tmp_path: Path) -> None:
    with redis_server(tmp_path / "r", unixsocket=str(tmp_path / "s")):
        (part,) = examine(ask(route_to(f"redis+unix://{tmp_path}/s")))
        assert part.title == f"Redis at {tmp_path}/s"


@pytest.mark.usefixtures("processes")
def test_doctor_redis_reaches_a_redis_by_tls(tmp_path: Path) -> None:
    subprocess.run(["openssl", *CERTIFICATE], cwd=tmp_path, capture_output=True, check=True)
    certificate = str(tmp_path / "tls.pem")
    port = free_port()
    options = {
        "tls-port": str(port),
        "tls-cert-file": certificate,
        "tls-key-file": str(tmp_path / "tls.key"),
        "tls-ca-cert-file": certificate,
        "tls-auth-clients": "no",
    }
    server = RedisServer(tmp_path / "r", options=options)
    url = f"rediss://127.0.0.1:{port}"
    try:
        server.start()
        assert only(found(url, tls_ca=certificate), "version", "does what")
        with pytest.raises(ServerUnreachable, match="certificate verify failed"):
            found(url)
        with pytest.raises(
            ServerUnreachable, match="perhaps it speaks TLS, which is rediss rather"
        ):
            found(f"redis://127.0.0.1:{port}")
    finally:
        server.kill()
