"""The Redis servers of a log: which of them has a key, and which of them take writes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from typing_extensions import override

from gateway.background import Background
from gateway.logs.redis.connection import Unreachable, translated
from gateway.logs.redis.connector import ONLY
from gateway.logs.redis.notifications import Notifications
from gateway.logs.redis.primary import Primary
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.logs.redis.commands import Commands
    from gateway.logs.redis.connection import Refusal
    from gateway.logs.redis.connector import Address, RedisConnector

OPEN_S = 1.0  # a start waits no longer for Redis: whoever needs it is told that it is not there
COMPLAIN_S = 10.0  # between two log lines of a kind: every call may meet the same
SURVEY_S = 1.0  # between two looks at which servers a cluster has


class RedisServers(Background):
    """The servers that take the calls of one log, and the channels that are heard there.

    Each is opened when it is first seen, and closed when it has gone. `by_address` has those that
    are known now.
    """

    def __init__(
        self,
        connector: RedisConnector,
        commands: Commands,
        history_changed: Callable[[Primary], None],
    ) -> None:
        """Call `history_changed` with a server that has another history than before."""
        self.connector = connector
        self.commands = commands
        self.history_changed = history_changed
        self.notifications = Notifications(self, commands.names)
        self.by_address: dict[Address, Primary] = {}
        self._only: Primary | None = None  # when it is no cluster
        self._cluster: RedisCluster | None = None
        self._is_known = not connector.is_cluster  # which server of the cluster has what
        self._asking: asyncio.Task[None] | None = None
        self._outage: str | None = None  # why the servers of the cluster are not known
        self._opening: set[asyncio.Task[None]] = set()
        self._surveyed = asyncio.Event()
        self._complained: dict[str, float] = {}  # when, by the code of the refusal
        self._is_closed = False

    async def open(self) -> None:
        """Look for the servers, now and every second; open those that are found within a second.

        A call waits for a Redis that cannot be reached yet. Leaves no connection and no task if it
        is cancelled, as by SIGTERM during a start.
        """
        if not self.connector.is_cluster:
            self._only = self.primary_at(ONLY)
        self.start()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._surveyed.wait()
                await asyncio.gather(*map(asyncio.shield, self._opening))
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            await self.close()
            raise
        self.notifications.find()

    async def close(self) -> None:
        """Close all connections; nobody looks for the servers from now on."""
        await self.notifications.close()
        await self.stop()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for primary in self.by_address.values():
            await primary.close()
        self._is_closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        with contextlib.suppress(exceptions.RedisError, OSError):
            if self._cluster is not None:
                await self._cluster.aclose()

    @override
    async def _run(self) -> None:
        """Open the servers of the cluster that are new, and close those that have left."""
        while True:
            try:
                addresses = await self.addresses()
                if self._surveyed.is_set() and set(addresses) != set(self.by_address):
                    self.notifications.find()
                for address in addresses:
                    self.primary_at(address)
                for address in set(self.by_address) - set(addresses):
                    await self.by_address.pop(address).close()
            except Unreachable:
                pass  # `why_unhealthy` tells
            except Exception:  # noqa: BLE001 - whatever it was, servers go on to come and go
                log.exception("log.survey_failed")
            self._surveyed.set()
            if not self.connector.is_cluster:
                return
            await asyncio.sleep(SURVEY_S)

    def why_unhealthy(self) -> str | None:
        """Return what is wrong with the first server that takes no appends, or None."""
        if self._outage is not None:
            return f"{self.connector.origin}: {self._outage}"
        for primary in self.by_address.values():
            if primary.why_unhealthy is not None:
                return f"{primary.name}: {primary.why_unhealthy}"
        return self.notifications.why_unhealthy

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

    def primary_of(self, key: str) -> Primary | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        if self._only is not None:
            return self._only
        address = self.known_address(key)
        return None if address is None else self.primary_at(address)

    async def find(self, key: str) -> Primary:
        """Return the server that has a key. Raises Unreachable."""
        await self._ask()
        primary = self.primary_of(key)
        if primary is None:
            self._is_known = False
            # As while a slot moves: those who know tell the others within a moment.
            raise Unreachable("the cluster has no server for this slot", is_passing=True)
        return primary

    def primary_at(self, address: Address) -> Primary:
        """Return the server at an address, opening it when it is new."""
        primary = self.by_address.get(address)
        if primary is None:
            # One that was not there from the start has taken over what was known of others.
            primary = Primary(self, address, is_new=self._surveyed.is_set())
            self.by_address[address] = primary
            opening = asyncio.get_running_loop().create_task(primary.open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return primary

    async def addresses(self) -> list[Address]:
        """Return all servers that take writes. Raises Unreachable."""
        await self._ask()
        if self._cluster is None:
            return [ONLY]
        addresses = [(str(node.host), int(node.port)) for node in self._cluster.get_primaries()]
        if not addresses:
            raise Unreachable("no node of the cluster has any slots")
        return addresses

    def moved(self) -> None:
        """Look again for the servers of keys and channels: a slot has moved."""
        if self.connector.is_cluster:
            self._is_known = False
            self.notifications.find()

    async def _ask(self) -> None:
        """Ask the cluster which server has what, unless that is known; all who wait share it."""
        if self._is_known:
            return
        if self._is_closed:  # a call that was under way may look for its server again
            raise Unreachable("the gateway is stopping")
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._look_around())
        await asyncio.shield(self._asking)

    async def _look_around(self) -> None:
        server = str(self.connector.origin)
        try:
            with translated():
                await self._ask_cluster()
        except Unreachable as failure:
            if self._outage is None:
                log.error("log.failed", server=server, reason=failure.why)
            self._outage = failure.why
            raise
        finally:
            self._asking = None
        if self._outage is not None:
            log.info("log.recovered", server=server)
        self._outage = None
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
