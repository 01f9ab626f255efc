"""Checks that find out when a server of an origin is well again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headgate.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.origin.servers import OriginServer

    # Probes a server, and calls its `recovered` or `failed`.
    Check = Callable[[OriginServer], Awaitable[None]]

# A server that restarts is missed for no longer than it was away: waits double from here.
FIRST_WAIT_S = 0.1


class HealthChecks:
    """A task for each server, which waits as long as there is nothing to check."""

    def __init__(
        self, servers: Iterable[OriginServer], check: Check, interval: float, *, always: bool
    ) -> None:
        self._servers = tuple(servers)
        self._check = check
        self._interval = interval
        self._always = always
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; with `always` each server is checked now."""
        self._tasks = [asyncio.create_task(self._watch(server)) for server in self._servers]

    async def stop(self) -> None:
        """End all checks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, server: OriginServer) -> None:
        while True:
            if self._always:
                await self._check(server)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await server.fell.wait()
            else:
                await server.fell.wait()
            await self._until_up(server)

    async def _until_up(self, server: OriginServer) -> None:
        # To a server that takes connections and keeps silent no question is cheap.
        first_s = self._interval if server.was_silent else FIRST_WAIT_S
        backoff = Backoff(first_s, self._interval)
        while not server.up:
            await asyncio.sleep(backoff.next_s())
            if not server.up:  # else the answer to somebody's request has told meanwhile
                await self._check(server)
