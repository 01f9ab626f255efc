"""The primaries of an origin: each is opened when it is first seen, and closed when it has gone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.backends.redis.servers.connector import ONLY
from gateway.backends.redis.servers.pipeline import Unreachable
from gateway.backends.redis.servers.primary import Primary
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Refusal
    from gateway.backends.redis.servers.connector import Address
    from gateway.backends.redis.servers.notifications import Notifications
    from gateway.backends.redis.servers.topology import Topology

OPEN_S = 1.0  # a start waits no longer for Redis: whoever needs it is told that it is not there
COMPLAIN_S = 10.0  # between two log lines of a kind: every call may meet the same
SURVEY_S = 1.0  # between two looks at which servers a cluster has


class Primaries:
    """The servers that take the calls of one log."""

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
        self._primaries: dict[Address, Primary] = {}
        self._only: Primary | None = None  # when it is no cluster
        self._opening: set[asyncio.Task[None]] = set()
        self._surveying: asyncio.Task[None] | None = None
        self._surveyed = asyncio.Event()
        self._complained: dict[str, float] = {}  # when, by the code of the refusal

    async def open(self) -> None:
        """Look for the servers, now and every second; open those that are found within a second."""
        if not self._topology.is_cluster:
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
        for primary in self._primaries.values():
            await primary.close()

    async def _keep_surveying(self) -> None:
        while True:
            try:
                await self._survey()
            except Exception:  # noqa: BLE001 - whatever it was, servers go on to come and go
                log.exception("log.survey_failed")
            self._surveyed.set()
            if not self._topology.is_cluster:
                return
            await asyncio.sleep(SURVEY_S)

    async def _survey(self) -> None:
        """Open the servers of the cluster that are new, and close those that have left."""
        try:
            addresses = await self._topology.primaries()
        except Unreachable:
            return  # `why_unhealthy` tells
        if self._surveyed.is_set() and set(addresses) != set(self._primaries):
            self._notifications.moved()
        for address in addresses:
            self.primary_at(address)
        for address in set(self._primaries) - set(addresses):
            await self._primaries.pop(address).close()

    def why_unhealthy(self) -> str | None:
        """Return what is wrong with the first server that takes no appends, or None."""
        if self._topology.why_unhealthy is not None:
            return f"{self._topology}: {self._topology.why_unhealthy}"
        unhealthy = (one for one in self._primaries.values() if one.why_unhealthy is not None)
        return next((f"{one.name}: {one.why_unhealthy}" for one in unhealthy), None)

    def all(self) -> list[Primary]:
        """Return the primaries that are known now."""
        return list(self._primaries.values())

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
        primary = self._primaries.get(address)
        if primary is None:
            primary = Primary(
                self._topology, address, self._commands, self._wait_replicas, self._history_changed
            )
            # One that was not there from the start has taken over what was known of others.
            primary.is_new = self._surveyed.is_set()
            self._primaries[address] = primary
            opening = asyncio.get_running_loop().create_task(primary.open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return primary

    def moved(self) -> None:
        """Look again for the servers of keys and channels: a slot has moved."""
        if self._topology.is_cluster:
            self._topology.moved()
            self._notifications.moved()

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
