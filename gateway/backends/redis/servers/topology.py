"""The Redis servers of an origin: which of them has a key, and which of them take writes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from typing_extensions import override

from gateway.backends.redis.servers.connector import ONLY, RedisConnector
from gateway.backends.redis.servers.failures import translated
from gateway.backends.redis.servers.pipeline import Unreachable
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.redis.servers.connector import Address, RedisSettings


class Topology:
    """Finds the server that has a key; its `connector` opens connections to it.

    `why_unhealthy` says why a cluster's servers are not known.
    """

    def __init__(self, settings: RedisSettings, connector: RedisConnector | None = None) -> None:
        self.connector = connector or RedisConnector(settings)
        self._settings = settings
        self._origin = settings.origin
        self._cluster: RedisCluster | None = None
        self._is_known = not self.is_cluster
        self._surveying: asyncio.Task[None] | None = None
        self._is_closed = False
        self.why_unhealthy: str | None = None

    @override
    def __repr__(self) -> str:
        return str(self._origin)

    @property
    def sentinels(self) -> Sequence[Address]:
        """The sentinels of the origin; none unless it has some."""
        return self._origin.nodes if self._origin.kind == "sentinel" else ()

    @property
    def service(self) -> str:
        """The name under which they know it."""
        return self._origin.service

    @property
    def is_cluster(self) -> bool:
        """True if keys are spread over several servers."""
        return self._settings.is_cluster

    def together(self, keys: Sequence[str]) -> bool:
        """Return whether one call can have all these keys: one server has them."""
        if not self.is_cluster:
            return True
        return len({key_slot(key.encode()) for key in keys}) <= 1

    def known_address(self, key: str) -> Address | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        if not self.is_cluster:
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
        self._is_known = not self.is_cluster

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
        try:
            with translated():
                await self._ask_cluster()
        except Unreachable as failure:
            if self.why_unhealthy is None:
                log.error("log.failed", server=str(self), reason=failure.why)
            self.why_unhealthy = failure.why
            raise
        finally:
            self._surveying = None
        if self.why_unhealthy is not None:
            log.info("log.recovered", server=str(self))
        self.why_unhealthy = None
        self._is_known = True

    async def _ask_cluster(self) -> None:
        if self._cluster is not None:
            await self._cluster.nodes_manager.initialize()
            return
        nodes = [ClusterNode(host, port) for host, port in self._origin.nodes]
        options = {**self.connector.options(), "socket_timeout": self._settings.connect_timeout}
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
