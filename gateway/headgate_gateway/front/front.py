"""Run Caddy as the TLS front of this server, and restart it when it ends.

The process of the gateway starts it, or the supervisor of several workers.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_gateway.background import keep_running
from headgate_gateway.errors import StartError
from headgate_gateway.front.caddy_process import LAST_S, CaddyProcess, find_caddy
from headgate_gateway.front.caddyfile import (
    caddyfile,
    hosts_of_own_authority,
)
from headgate_gateway.front.certificates import CertificateFailures, find_hosts_with_certificates
from headgate_gateway.front.opening import CannotLoadError, load, wait_for_handshakes
from headgate_gateway.front.sockets import open_public, open_upstream
from headgate_gateway.telemetry.health import STARTING, Cause
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.health import HealthNote

FOLDER_MODE = 0o700  # the folder has private keys


class Front:
    """Caddy, its sockets, and the Unix socket `upstream` by which it reaches this server.

    `cause` says why Caddy does not serve, or is None. `restarts` counts how often it was restarted.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        """Open the sockets that are not `inherited`. `clock` returns epoch seconds.

        Raises StartError, or OSError of a socket.
        """
        self.cause: Cause | None = Cause(STARTING)
        self.restarts = 0
        self._opened = ExitStack()
        self._clock = clock
        program, folder = find_caddy(), Path(settings.front.data).absolute()
        try:
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            folder.chmod(FOLDER_MODE)
        except OSError as error:
            raise StartError(f"cannot use {folder} (front.data): {error.strerror}") from error
        with ExitStack() as opened:
            sockets = open_public(settings.front.listen, opened, inherited)
            self.upstream: socket.socket = open_upstream(folder)
            opened.callback(self.upstream.close)
            self._opened = opened.pop_all()
        self._settings, self._sockets, self._folder = settings, sockets, folder
        self._failures = CertificateFailures(folder, settings.front.hosts, clock)
        self._caddy = CaddyProcess(
            program, folder, sockets.descriptors, self._failures.note_failure
        )
        self._served = asyncio.Event()
        self._stopping = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start Caddy, and wait until it serves. Raises StartError if it cannot."""
        self._keeping = asyncio.create_task(self._keep())
        served = asyncio.create_task(self._served.wait())
        try:
            await asyncio.wait([self._keeping, served], return_when=asyncio.FIRST_COMPLETED)
        finally:
            served.cancel()
        if self._keeping.done():
            await self._keeping

    def notes(self) -> Iterator[HealthNote]:
        """Return why hosts lack a certificate, or its renewal."""
        return self._failures.notes()

    def terminate(self) -> None:
        """Tell Caddy to accept no more connections, and to finish its requests."""
        self._stopping.set()
        self._caddy.terminate()

    async def stop(self) -> None:
        """End Caddy once its requests are finished, or when shutdown.grace is over.

        Connections to `upstream` that no process accepts any more are reset.
        """
        self.terminate()
        self.upstream.close()
        if self._keeping is not None:
            _, late = await asyncio.wait(
                [self._keeping], timeout=self._settings.shutdown.grace + LAST_S
            )
            if late:
                self._caddy.kill()
                await asyncio.wait(late)

    def close(self) -> None:
        """Close the sockets."""
        self._opened.close()

    async def _keep(self) -> None:
        """Restart Caddy whenever it ends. Raises StartError if it ends before it has served."""
        await keep_running(self._run, self._note_end, self._stopping)
        self.cause = Cause("stopped")

    def _note_end(self, ended: str, pause_s: float) -> None:
        if not self._served.is_set():
            raise StartError(f"cannot start the front: Caddy {ended}")
        self.restarts += 1
        self.cause = Cause("ended", {"reason": f"Caddy {ended}"})
        log.error("front.ended", reason=ended, pause_s=pause_s)

    async def _run(self) -> str:
        """Run Caddy until it ends; return how it ended."""
        public = caddyfile(self._settings, self._sockets)
        try:
            hosts = self._hosts_to_wait_for()
            if not hosts:
                return await self._caddy.run(public, self._serve)
            private = caddyfile(self._settings, self._sockets, hosts)

            async def open_sockets() -> None:
                await wait_for_handshakes(self._folder, hosts)
                await load(self._folder, public)
                await self._serve()

            return await self._caddy.run(private, open_sockets)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        except CannotLoadError as error:
            return f"cannot serve at the public sockets: {error}"

    def _hosts_to_wait_for(self) -> list[str]:
        """Return the hosts that need no certificate by way of the public sockets."""
        issued = hosts_of_own_authority(self._settings)
        asked = [host for host in self._settings.front.hosts if host not in issued]
        return issued + find_hosts_with_certificates(self._folder, asked, self._clock())

    async def _serve(self) -> None:
        self.cause = None
        self._served.set()
