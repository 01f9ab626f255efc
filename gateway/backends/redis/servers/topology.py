"""The Redis servers of an origin: which of them has a key, and which of them take writes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot

from gateway.backends.redis.connection import Unreachable, translated
from gateway.backends.redis.servers.connector import ONLY
from gateway.backends.redis.servers.primary import Primary
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Refusal
    from gateway.backends.redis.servers.connector import Address, RedisConnector
    from gateway.backends.redis.servers.notifications import Notifications

OPEN_S = 1.0  # a start waits no longer for Redis: whoever needs it is told that it is not there
COMPLAIN_S = 10.0  # between two log lines of a kind: every call may meet the same
SURVEY_S = 1.0  # between two looks at which servers a cluster has


class Topology:
    """Finds the server that has a key; its `connector` opens connections to it.

    `why_unhealthy` says why a cluster's servers are not known.
    """

    def __init__(self, connector: RedisConnector) -> None:
        self.connector = connector
        self._cluster: RedisCluster | None = None
        self._is_known = not connector.is_cluster
        self._surveying: asyncio.Task[None] | None = None
        self._is_closed = False
        self.why_unhealthy: str | None = None

    def together(self, keys: Sequence[str]) -> bool:
        """Return whether one call can have all these keys: one server has them."""
        return not self.connector.is_cluster or len({key_slot(it.encode()) for it in keys}) <= 1

    def known_address(self, key: str) -> Address | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        if not self.connector.is_cluster:
            return ONLY
        if self._cluster is None or not self._is_known:
            return None
        with contextlib.suppress(exceptions.RedisError, exceptions.RedisClusterException):
            node = self._cluster.get_node_from_key(key)
            if node is not None:
                return str(node.host), int(node.port)
        return None

    async def address(self, key: str) -> Address:
        """Return the server that has a key. Raises Unreachable."""
        await self._survey()
        address = self.known_address(key)
        if address is None:
            self._is_known = False
            # As while a slot moves: those who know tell the others within a moment.
            raise Unreachable("the cluster has no server for this slot", is_passing=True)
        return address

    async def primaries(self) -> list[Address]:
        """Return all servers that take writes. Raises Unreachable."""
        await self._survey()
        if self._cluster is None:
            return [ONLY]
        addresses = [(str(node.host), int(node.port)) for node in self._cluster.get_primaries()]
        if not addresses:
            raise Unreachable("no node of the cluster has any slots")
        return addresses

    def moved(self) -> None:
        """Ask the cluster again before the next call for a key."""
        self._is_known = not self.connector.is_cluster

    async def _survey(self) -> None:
        """Ask the cluster which server has what, unless that is known; all who wait share it."""
        if self._is_known:
            return
        if self._is_closed:  # a call that was under way may look for its server again
            raise Unreachable("the gateway is stopping")
        if self._surveying is None:
            self._surveying = asyncio.get_running_loop().create_task(self._look_around())
        await asyncio.shield(self._surveying)

    async def _look_around(self) -> None:
        server = str(self.connector.origin)
        try:
            with translated():
                await self._ask_cluster()
        except Unreachable as failure:
            if self.why_unhealthy is None:
                log.error("log.failed", server=server, reason=failure.why)
            self.why_unhealthy = failure.why
            raise
        finally:
            self._surveying = None
        if self.why_unhealthy is not None:
            log.info("log.recovered", server=server)
        self.why_unhealthy = None
        self._is_known = True

    async def _ask_cluster(self) -> None:
        if self._cluster is not None:
            await self._cluster.nodes_manager.initialize()
            return
        nodes = [ClusterNode(host, port) for host, port in self.connector.origin.nodes]
        options = self.connector.options()
        options["socket_timeout"] = self.connector.settings.connect_timeout
        cluster = RedisCluster(startup_nodes=nodes, **options)
        await cluster.initialize()
        self._cluster = cluster

    async def close(self) -> None:
        """Close what was opened to find the servers; nobody looks for them from now on."""
        self._is_closed = True
        if self._surveying is not None:
            self._surveying.cancel()
            await asyncio.gather(self._surveying, return_exceptions=True)
        with contextlib.suppress(exceptions.RedisError, OSError):
            if self._cluster is not None:
                await self._cluster.aclose()


class Primaries:
    """The servers that take the calls of one log.

    Each is opened when it is first seen, and closed when it has gone. `by_address` has those that
    are known now.
    """

    def __init__(
        self,
        topology: Topology,
        commands: Commands,
        wait_replicas: int,
        notifications: Notifications,
        history_changed: Callable[[Primary], None],
    ) -> None:
        self._topology = topology
        self._commands = commands
        self._wait_replicas = wait_replicas
        self._notifications = notifications
        self._history_changed = history_changed
        self.by_address: dict[Address, Primary] = {}
        self._only: Primary | None = None  # when it is no cluster
        self._opening: set[asyncio.Task[None]] = set()
        self._surveying: asyncio.Task[None] | None = None
        self._surveyed = asyncio.Event()
        self._complained: dict[str, float] = {}  # when, by the code of the refusal

    async def open(self) -> None:
        """Look for the servers, now and every second; open those that are found within a second."""
        if not self._topology.connector.is_cluster:
            self._only = self.primary_at(ONLY)
        self._surveying = asyncio.get_running_loop().create_task(self._keep_surveying())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self._surveyed.wait()
                await asyncio.gather(*map(asyncio.shield, self._opening))

    async def close(self) -> None:
        """Close all connections to the servers."""
        if self._surveying is not None:
            self._opening.add(self._surveying)
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for primary in self.by_address.values():
            await primary.close()
        await self._topology.close()

    async def _keep_surveying(self) -> None:
        """Open the servers of the cluster that are new, and close those that have left."""
        while True:
            try:
                addresses = await self._topology.primaries()
                if self._surveyed.is_set() and set(addresses) != set(self.by_address):
                    self._notifications.find()
                for address in addresses:
                    self.primary_at(address)
                for address in set(self.by_address) - set(addresses):
                    await self.by_address.pop(address).close()
            except Unreachable:
                pass  # `why_unhealthy` tells
            except Exception:  # noqa: BLE001 - whatever it was, servers go on to come and go
                log.exception("log.survey_failed")
            self._surveyed.set()
            if not self._topology.connector.is_cluster:
                return
            await asyncio.sleep(SURVEY_S)

    def why_unhealthy(self) -> str | None:
        """Return what is wrong with the first server that takes no appends, or None."""
        if self._topology.why_unhealthy is not None:
            return f"{self._topology.connector.origin}: {self._topology.why_unhealthy}"
        for primary in self.by_address.values():
            if primary.why_unhealthy is not None:
                return f"{primary.name}: {primary.why_unhealthy}"
        return None

    def primary_of(self, key: str) -> Primary | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        if self._only is not None:
            return self._only
        address = self._topology.known_address(key)
        return None if address is None else self.primary_at(address)

    async def find(self, key: str) -> Primary:
        """Return the server that has a key. Raises Unreachable."""
        return self.primary_at(await self._topology.address(key))

    def primary_at(self, address: Address) -> Primary:
        """Return the server at an address, opening it when it is new."""
        primary = self.by_address.get(address)
        if primary is None:
            primary = self.by_address[address] = Primary(
                self._topology,
                address,
                self._commands,
                self._wait_replicas,
                self._history_changed,
                # One that was not there from the start has taken over what was known of others.
                is_new=self._surveyed.is_set(),
            )
            opening = asyncio.get_running_loop().create_task(primary.open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return primary

    def moved(self) -> None:
        """Look again for the servers of keys and channels: a slot has moved."""
        if self._topology.connector.is_cluster:
            self._topology.moved()
            self._notifications.find()

    def compare(self, history: int) -> None:
        """Look at the only server again if a reply has another history than it had.

        In a cluster each server has a history of its own, and slots move between them.
        """
        if self._only is not None:
            self._only.compare(history)

    def complain(self, key: str, refusal: Refusal) -> None:
        """Log a refusal, one of a kind in a while: thousands of calls may meet the same."""
        now = asyncio.get_running_loop().time()
        if now >= self._complained.get(refusal.code, 0.0) + COMPLAIN_S:
            self._complained[refusal.code] = now
            log.error("log.refused", key=key, reason=refusal.text)
