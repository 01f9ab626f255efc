"""Messages to the service manager: ready, reloading, stopping, alive (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from typing import Self

    from headgate_gateway.process.reloader import Reloader

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LONGEST_SEND_S = 1.0  # for room in the queue of systemd, which all services of a machine share
RETRY_S = 1.0  # between two checks while this process is not alive


class ServiceManager(Background):
    """The service manager that has started this process; without one, nothing is sent.

    Its task notifies the watchdog twice in `watchdog_s`, as sd_watchdog_enabled(3) advises, while
    the process is alive. It does so from the event loop, so that the manager notices a hang.
    A thread sends the messages in their order, as the queue of the manager may be full.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s
        self._is_alive: Callable[[], Awaitable[bool]] | None = None
        # Few messages wait: two for each reload, and one for the watchdog, which waits for it.
        self._sender = ThreadPoolExecutor(1, "service-manager")
        self._last: Future[None] | None = None  # the last message

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Self:
        """Return the manager that the environment names, and remove its variables.

        Child processes would send messages as if they were this process.
        """
        values = {name: environment.pop(name, "") for name in VARIABLES}
        address = values["NOTIFY_SOCKET"]
        if address[:1] not in {"/", "@"}:  # vsock, which only virtual machines use
            return cls()
        usec = values["WATCHDOG_USEC"]
        is_ours = values["WATCHDOG_PID"] in {"", str(os.getpid())}
        is_watched = is_ours and usec.isdecimal() and int(usec) > 0
        return cls(address, int(usec) / 1e6 if is_watched else None)

    def report_start(
        self, reloader: Reloader, is_alive: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Report that this process serves; report its reloads and notify the watchdog from now.

        The watchdog is notified while `is_alive`, if there is one, returns True.
        """
        self._is_alive = is_alive
        self._send("READY=1", "STATUS=Serving")
        reloader.on_begin.append(self._reload_begins)
        reloader.on_end.append(self._reload_ended)
        if self.watchdog_s is not None:
            self.start()

    def report_drain(self) -> None:
        """Report that this process drains; the watchdog is notified until the process ends."""
        self._send("STOPPING=1", "STATUS=Draining")

    def _reload_begins(self) -> None:
        # By this clock Type=notify-reload distinguishes this reload from an earlier one.
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=Reloading")

    def _reload_ended(self, problems: Sequence[str]) -> None:
        refused = "; the last reload was refused, for which the log has the reasons"
        self._send("READY=1", f"STATUS=Serving{refused if problems else ''}")

    @override
    async def stop(self) -> None:
        """End the watchdog's task, and wait until every message is sent or given up."""
        await super().stop()
        if self._last is not None:
            await asyncio.wait([asyncio.wrap_future(self._last)])

    @override
    async def _run(self) -> None:
        assert self.watchdog_s is not None, "only a watchdog has a task"
        interval_s = self.watchdog_s / 2
        while True:
            is_alive = self._is_alive is None or await self._is_alive()
            if is_alive:
                sent = self._send("WATCHDOG=1")
                if sent is not None:
                    await asyncio.wait([asyncio.wrap_future(sent)])
            await asyncio.sleep(interval_s if is_alive else min(RETRY_S, interval_s))

    def _send(self, *lines: str) -> Future[None] | None:
        """Queue one message to the manager; return None if there is no manager."""
        if self._address:
            self._last = self._sender.submit(self._send_now, *lines)
        return self._last

    def _send_now(self, *lines: str) -> None:
        """Send one message to the manager, and log when it cannot be reached."""
        # An abstract socket has a zero byte where its name has this sign (unix(7)).
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(LONGEST_SEND_S)
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("server.manager_unreachable", message=lines[0], reason=str(error))
