"""The health checks of an origin's servers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headgate.retries import Backoff
from headgate_gateway.later import Later
from headgate_gateway.origin.heads import HeadPatterns
from headgate_gateway.origin.requests import why_unreachable

if TYPE_CHECKING:
    from headgate_gateway.origin.answer import Loss, OriginAnswer
    from headgate_gateway.origin.pool import ConnectionPool
    from headgate_gateway.origin.servers import OriginServer, OriginServers, OriginSettings

# A reader waits this long at most for a server that is back, at four short requests a second.
PROBED_EVERY_S = 0.25
PROBE_TIMEOUT_S = 1.5  # above a pause of a busy server, below the patience of a client
PROBE_PATH = "/healthz"  # a Headgate answers it without a look at its log; any answer will do
# A server that restarts is missed for no longer than it was away: waits double from here.
FIRST_WAIT_S = 0.1


class HealthChecks:
    """A task for each server, which waits as long as there is nothing to check."""

    def __init__(
        self, servers: OriginServers, pool: ConnectionPool, settings: OriginSettings
    ) -> None:
        self._servers = servers
        self._pool = pool
        self._settings = settings
        # With a path or probes each server is checked all the time, else only while it is down.
        self._always = bool(settings.health_path) or settings.has_probes
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._watch(server)) for server in self._servers]

    async def stop(self) -> None:
        """End all checks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _interval_s(self) -> float:
        interval = self._settings.health_interval
        return min(interval, PROBED_EVERY_S) if self._settings.has_probes else interval

    async def _watch(self, server: OriginServer) -> None:
        while True:
            if self._always:
                await self._check(server)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_s):
                        await server.fell.wait()
            else:
                await server.fell.wait()
            # To a server that takes connections and keeps silent no question is cheap.
            first_s = self._interval_s if server.was_silent else FIRST_WAIT_S
            backoff = Backoff(first_s, self._interval_s)
            while not server.up:
                await asyncio.sleep(backoff.next_s())
                if not server.up:  # else the answer to a request has shown it meanwhile
                    await self._check(server)

    async def _check(self, server: OriginServer) -> None:
        """Note on a server whether it is well: with its path, a probe, or just a connection."""
        settings = self._settings
        if settings.health_path:
            why = await self._why_unwell(server, settings.health_path, settings.connect_timeout)
        elif settings.has_probes or server.was_silent:
            why = await self._why_unwell(server, PROBE_PATH, PROBE_TIMEOUT_S)
        else:
            why = await self._pool.why_unreachable(server)
        if why is None:
            server.recovered()
        else:
            server.failed(why)

    async def _why_unwell(self, server: OriginServer, path: str, timeout_s: float) -> str | None:
        """Request a path of a server; return why it is unhealthy, or None."""
        late = f"did not answer its health check within {timeout_s:g} s"
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    connection = await self._pool.connect(server, is_pooled=False)
                except TimeoutError:
                    raise
                except OSError as error:
                    return why_unreachable(error, timeout_s)
                if connection.transport is None:
                    return "closed the connection at once"
                probe = _Probe()
                try:
                    wire = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n"
                    connection.send(probe, wire.encode())
                    status = await probe
                finally:
                    connection.abandon()
        except TimeoutError:
            return late
        if status is None:
            return late
        if not self._settings.health_path:
            server.errors.note(status, path, is_probe=True)
        elif status >= 400:
            return f"answers its health check with {status}"
        return None


class _Probe(Later[int | None]):
    """A GET on a connection of its own: the status of its answer, or None without one."""

    __slots__ = ("patterns",)
    is_head = False

    def __init__(self) -> None:
        super().__init__()
        self.patterns = HeadPatterns()

    def on_answer(self, answer: OriginAnswer) -> None:
        """Take the status."""
        self.set_result(answer.status)

    def on_lost(self, _loss: Loss, _error: Exception) -> None:
        """End without a status."""
        if not self.done():
            self.set_result(None)

    def on_released(self) -> None:
        """Do nothing: the connection is closed."""
