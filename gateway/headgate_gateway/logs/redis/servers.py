"""The Redis servers of a log: which of them has a key, and which of them take writes."""

from __future__ import annotations

import asyncio
import binascii
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.shielding import shielded
from headgate_gateway.background import Background
from headgate_gateway.logs.redis.connection import Unreachable
from headgate_gateway.logs.redis.connector import ONLY, SLOTS
from headgate_gateway.logs.redis.primary import Primary
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.redis.connection import Refusal
    from headgate_gateway.logs.redis.connector import Address, RedisConnector
    from headgate_gateway.logs.redis.primary import Probes

OPEN_S = 1.0  # a start waits no longer for Redis: requests are refused while it is not there
COMPLAIN_S = 10.0  # between two log lines of a kind: every call may meet the same failure
SURVEY_S = 1.0  # between two looks at which servers a cluster has


class RedisServers(Background):
    """The servers that take the calls of one log.

    Each is opened when it is first seen, and closed when it has gone. `by_address` has those that
    are known now.
    """

    def __init__(
        self,
        connector: RedisConnector,
        probes: Probes,
        on_history_change: Callable[[Primary], None],
        on_move: Callable[[], None],
    ) -> None:
        """Call `on_move` when slots, or servers, may have moved.

        `on_history_change` is called with a server that has another history than before.
        """
        self.connector = connector
        self._probes = probes
        self._on_history_change = on_history_change
        self._on_move = on_move
        self.by_address: dict[Address, Primary] = {}
        self._slots: list[Address] = [ONLY] * (not connector.is_cluster)  # the server of each
        self._is_known = not connector.is_cluster  # `_slots` are, unless something has moved
        self._asking: asyncio.Task[None] | None = None
        self._outage: str | None = None  # why the servers of the cluster are not known
        self._opening: set[asyncio.Task[None]] = set()
        self._surveyed = asyncio.Event()
        self._complained: dict[str, float] = {}  # when, by the code of the refusal
        self._is_closed = False

    async def open(self) -> None:
        """Look for the servers, now and every second; open those that are found within a second.

        A call waits for a Redis that cannot be reached yet.
        """
        self.start()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._surveyed.wait()
                await asyncio.gather(*map(shielded, self._opening))
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Close all connections; nothing looks for the servers from now on."""
        self._is_closed = True
        await self.stop()
        tasks = [*self._opening, *([] if self._asking is None else [self._asking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for primary in self.by_address.values():
            await primary.close()

    @override
    async def _run(self) -> None:
        """Open the servers of the cluster that are new, and close those that have left."""
        while True:
            try:
                addresses = await self.addresses()
                if self._surveyed.is_set() and addresses != set(self.by_address):
                    self._on_move()
                for address in addresses:
                    self.primary_at(address)
                for address in set(self.by_address) - addresses:
                    await self.by_address.pop(address).close()
            except Unreachable:
                pass  # `why_unhealthy` tells
            except Exception:  # noqa: BLE001 - the survey must go on after any error
                log.exception("log.survey_failed")
            self._surveyed.set()
            if not self.connector.is_cluster:
                return
            await asyncio.sleep(SURVEY_S)

    def why_unhealthy(self) -> str | None:
        """Return what is wrong with a server that takes no appends, if there is one.

        A server that serves no reads either is named first.
        """
        if self._outage is not None:
            return f"{self.connector.origin}: {self._outage}"
        unwell = [it for it in self.by_address.values() if it.why_unhealthy is not None]
        for primary in sorted(unwell, key=lambda it: it.is_read_only):
            return f"{primary.name}: {primary.why_unhealthy}"
        return None

    def why_down(self, key: str) -> str | None:
        """Return why the server of a key is down; None while it serves, or may."""
        address = self.known_address(key)
        if address is None:
            return self._outage
        primary = self.by_address.get(address)
        return primary.why_unhealthy if primary is not None and primary.is_down else None

    def is_read_only(self) -> bool:
        """Return whether some servers take no appends, and all of these serve reads."""
        unwell = [it for it in self.by_address.values() if it.why_unhealthy is not None]
        return self._outage is None and bool(unwell) and all(it.is_read_only for it in unwell)

    def are_together(self, keys: Sequence[str]) -> bool:
        """Return whether one call can have all these keys: one server has them."""
        return not self.connector.is_cluster or len(set(map(_slot_of, keys))) <= 1

    def known_address(self, key: str) -> Address | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        if not self._is_known:
            return None
        return self._slots[_slot_of(key)] if self.connector.is_cluster else ONLY

    def primary_of(self, key: str) -> Primary | None:
        """Return the server that has a key; None if the cluster must be asked first."""
        address = self.known_address(key)
        if address is None:
            return None
        return self.by_address.get(address) or self.primary_at(address)

    async def find(self, key: str) -> Primary:
        """Return the server that has a key. Raises Unreachable."""
        await self._ask()
        primary = self.primary_of(key)
        if primary is None:  # a slot has moved in this moment
            raise Unreachable("the cluster has no server for this slot", is_passing=True)
        return primary

    def primary_at(self, address: Address) -> Primary:
        """Return the server at an address, opening it when it is new."""
        primary = self.by_address.get(address)
        if primary is None:
            # One that was not there from the start has taken over what was known of others.
            primary = Primary(
                *(self.connector, address, self._probes, self.moved, self._on_history_change),
                is_new=self._surveyed.is_set(),
            )
            self.by_address[address] = primary
            opening = asyncio.get_running_loop().create_task(primary.open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return primary

    async def addresses(self) -> set[Address]:
        """Return all servers that take writes. Raises Unreachable."""
        await self._ask()
        return set(self._slots)

    def moved(self) -> None:
        """Look again for the servers of keys and channels: a slot has moved."""
        if self.connector.is_cluster:
            self._is_known = False
            self._on_move()

    async def _ask(self) -> None:
        """Ask the cluster which server has what, unless that is known, or asked already."""
        if self._is_known:
            return
        if self._is_closed:  # a call that was under way may look for its server again
            raise Unreachable("the gateway is stopping")
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._look_around())
        await shielded(self._asking)

    async def _look_around(self) -> None:
        server = str(self.connector.origin)
        try:
            self._slots = await self.connector.slots(self.by_address)
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

    def compare(self, history: int) -> None:
        """Probe the only server again if a reply has another history than it had.

        In a cluster each server has a history of its own, and slots move between them.
        """
        if not self.connector.is_cluster:
            self.primary_at(ONLY).compare(history)

    def complain(self, key: str, refusal: Refusal) -> None:
        """Log a refusal, one of a kind in a while: thousands of calls may meet the same."""
        now = asyncio.get_running_loop().time()
        if now >= self._complained.get(refusal.code, 0.0) + COMPLAIN_S:
            self._complained[refusal.code] = now
            log.error("log.refused", key=key, reason=str(refusal))


def _slot_of(key: str) -> int:
    """Return the slot of a key in a cluster: of the text in its first braces, or of all of it."""
    name = key.encode()
    _, opened, rest = name.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if opened and closed and tag else name, 0) % SLOTS
