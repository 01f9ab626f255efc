"""Real Redis servers on loopback that belong together: under Sentinel, or as a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.support.ports import free_port
from tests.support.redis_servers import HOST, RedisServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.redis_servers import Options

SERVICE = "headgate"
_SLOTS = 16384
# Replicas follow at once: no waiting for more of them, and a lost primary is noticed soon.
_REPLICATION = {
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}
# A sentinel passes over a replica that lost its primary more than ten times this before. Between
# that and the primary's end a test on a busy machine needs up to ten seconds.
DOWN_AFTER_MS = 2000
# Sentinels talk in seconds; in milliseconds a group is formed, or mended, in about one. A replica
# is promoted if it answered INFO within five ping periods, and INFO goes out once a second then.
_SENTINEL_PERIODS = (
    *("info-period", "100"),
    *("publish-period", "100"),
    *("ping-period", "500"),
    *("ask-period", "100"),
    *("election-timeout", "1000"),
    # So long a sentinel that was itself held up for two seconds does nothing; by default it is 30.
    *("tilt-period", "1000"),
)


class _Group:
    """Servers that start together, and are killed when the block ends."""

    def __init__(self) -> None:
        self.servers: list[RedisServer] = []

    def start(self) -> Self:
        raise NotImplementedError

    def close(self) -> None:
        for server in self.servers:
            server.kill()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class SentinelGroup(_Group):
    """A primary with two replicas, watched by three sentinels that need two votes.

    Failing over takes about two seconds. Writes that the primary acknowledges between
    `cut_replication` and its death are certainly lost:

        group.cut_replication()
        ...                          # less than ten times DOWN_AFTER_MS
        lost = group.primary()
        lost.kill()
        group.mend_replication()
        group.await_failover(lost)
        lost.start()                 # as a primary, until the sentinels tell it otherwise
        group.await_in_sync()
    """

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        super().__init__()
        first, *others = (free_port() for _ in range(3))
        replication = {**_REPLICATION, **(options or {})}
        self.data = [RedisServer(folder / f"data-{first}", first, replication)]
        for port in others:
            following = {**replication, "replicaof": f"{HOST} {first}"}
            self.data.append(RedisServer(folder / f"data-{port}", port, following))
        self.sentinels = [_sentinel(folder, first) for _ in range(3)]
        self.servers = [*self.data, *self.sentinels]

    @property
    def url(self) -> str:
        addresses = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{SERVICE}"

    def start(self) -> Self:
        """Start all, and wait until a failover would succeed."""
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            wait_until(server.answers, f"{server!r} to answer PING", server.output)
        for sentinel in self.sentinels:
            sentinel.command("SENTINEL", "DEBUG", *_SENTINEL_PERIODS)
        wait_until(self._sentinels_know_all, "the sentinels to know the group", self.output)
        self.await_in_sync()
        return self

    def _sentinels_know_all(self) -> bool:
        return all(
            (seen.get(b"num-other-sentinels"), seen.get(b"num-slaves")) == (b"2", b"2")
            for seen in map(_seen_by, self.sentinels)
        )

    def primary(self) -> RedisServer:
        """The server that the sentinels send clients to."""
        for sentinel in self.sentinels:
            if sentinel.is_running:
                port = _named_by(sentinel)
                return next(server for server in self.data if server.port == port)
        raise AssertionError("no sentinel runs")

    def replicas(self) -> list[RedisServer]:
        """The running servers other than the primary."""
        primary = self.primary()
        return [server for server in self.data if server is not primary and server.is_running]

    def cut_replication(self) -> None:
        """From here on the primary acknowledges what no replica gets."""
        primary = self.primary()
        for replica in self.replicas():
            # A primary without a password refuses who sends one.
            replica.command("CONFIG", "SET", "masterauth", "wrong")
        primary.command("CLIENT", "KILL", "TYPE", "replica")
        wait_until(
            lambda: primary.info("replication")["connected_slaves"] == 0,
            "the primary to lose its replicas",
            primary.output,
        )

    def mend_replication(self) -> None:
        """Let replicas follow again whoever is primary."""
        for server in self.data:
            if server.is_running:
                server.command("CONFIG", "SET", "masterauth", "")

    def await_failover(self, lost: RedisServer) -> RedisServer:
        """The primary in place of a lost one, once each sentinel is done with the failover."""

        def is_done() -> bool:
            seen = [_seen_by(sentinel) for sentinel in self.sentinels]
            ports = {int(one[b"port"]) for one in seen}
            return len(ports) == 1 and lost.port not in ports and all(map(_is_well, seen))

        wait_until(is_done, f"a primary other than {lost!r}", self.output)
        return self.primary()

    def await_in_sync(self) -> None:
        """Wait until a failover loses nothing.

        All running servers but the primary follow it up to its last write, and the sentinels know
        that they are well.
        """

        def is_done() -> bool:
            primary = self.primary()
            at = primary.info("replication")["master_repl_offset"]
            return all(_follows(replica, primary, at) for replica in self.replicas()) and all(
                map(self._sees_all_well, self.sentinels)
            )

        wait_until(is_done, "the replicas to be in sync", self.output)

    def _sees_all_well(self, sentinel: RedisServer) -> bool:
        replicas = sentinel.command("SENTINEL", "REPLICAS", SERVICE)
        running = {server.port for server in self.data if server.is_running}
        return all(
            _is_well(seen)
            for seen in (*replicas, _seen_by(sentinel))
            if int(seen[b"port"]) in running
        )

    def output(self) -> str:
        """What all of them logged."""
        return "\n".join(f"--- {server!r}\n{server.output()}" for server in self.servers)


def _sentinel(folder: Path, primary_port: int) -> RedisServer:
    port = free_port()
    watching = (
        f"monitor {SERVICE} {HOST} {primary_port} 2",
        f"down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        # A failed attempt is repeated after twice this.
        f"failover-timeout {SERVICE} 2000",
        f"parallel-syncs {SERVICE} 2",
    )
    return RedisServer(
        folder / f"sentinel-{port}", port, {"sentinel": watching}, arguments=["--sentinel"]
    )


def _seen_by(sentinel: RedisServer) -> dict[bytes, bytes]:
    """What a sentinel knows about the service's primary."""
    fields: dict[bytes, bytes] = sentinel.command("SENTINEL", "MASTER", SERVICE)
    return fields


def _is_well(seen: dict[bytes, bytes]) -> bool:
    """Whether a sentinel sees a server answer, and no failover under way."""
    return seen[b"flags"] in {b"master", b"slave"}


def _named_by(sentinel: RedisServer) -> int:
    """The port of the primary that a sentinel sends clients to."""
    return int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


def _follows(replica: RedisServer, primary: RedisServer, at: int) -> bool:
    seen = replica.info("replication")
    return (
        seen["role"] == "slave"
        and seen["master_port"] == primary.port
        and seen["master_link_status"] == "up"
        and int(seen["slave_repl_offset"]) >= at
    )


class ClusterServers(_Group):
    """A cluster of nodes that share the slots evenly, each with so many replicas."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        *,
        replicas: int = 0,
        options: Options | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        clustered = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "2000",
            **_REPLICATION,
            **(options or {}),
        }
        self._bus: dict[int, int] = {}
        for _ in range(nodes * (1 + replicas)):
            port = free_port()
            self._bus[port] = free_port()
            own = {**clustered, "cluster-port": str(self._bus[port])}
            node = RedisServer(folder / f"node-{port}", port, own, environment=environment)
            self.servers.append(node)
        self.nodes = self.servers[:nodes]
        self.replicas = self.servers[nodes:]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def start(self) -> Self:
        """Start all, and wait until each says that the cluster serves every slot."""
        for server in self.servers:
            server.start()
        for number, node in enumerate(self.nodes):
            first, end = (_SLOTS * i // len(self.nodes) for i in (number, number + 1))
            node.command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for epoch, server in enumerate(self.servers, start=1):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            self.nodes[0].command("CLUSTER", "MEET", HOST, server.port, self._bus[server.port])
        wait_until(self._know_each_other, "the nodes to know each other", self.output)
        for number, replica in enumerate(self.replicas):
            node = self.nodes[number % len(self.nodes)]
            replica.command("CLUSTER", "REPLICATE", node.command("CLUSTER", "MYID"))
        wait_until(self.is_whole, "the cluster to be whole", self.output)
        return self

    def _know_each_other(self) -> bool:
        known = (_cluster_info(server)["cluster_known_nodes"] for server in self.servers)
        return all(int(count) == len(self.servers) for count in known)

    def is_whole(self) -> bool:
        """Whether each server says that the cluster is well, and each replica follows."""
        return all(
            _cluster_info(server)["cluster_state"] == "ok" for server in self.servers
        ) and all(
            replica.info("replication").get("master_link_status") == "up"
            for replica in self.replicas
        )

    def node_of(self, key: str) -> RedisServer:
        """The node that was given the slot of a key when the cluster was made."""
        slot = int(self.nodes[0].command("CLUSTER", "KEYSLOT", key))
        ends = (_SLOTS * (i + 1) // len(self.nodes) for i in range(len(self.nodes)))
        return next(node for node, end in zip(self.nodes, ends, strict=True) if slot < end)

    def output(self) -> str:
        """What all of them logged."""
        return "\n".join(f"--- {server!r}\n{server.output()}" for server in self.servers)


def _cluster_info(server: RedisServer) -> dict[str, str]:
    lines = bytes(server.command("CLUSTER", "INFO")).decode().split()
    return dict(line.split(":", 1) for line in lines)
