"""Runs a gateway in this process: start, readiness, signals and drain."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import uvloop

from admin.source import STARTING, Health, Setup
from gateway import app
from gateway.access.authorities import Authorities
from gateway.access.console import ConsoleToken
from gateway.backends.registry import formats
from gateway.errors import StartError
from gateway.purge.purges import Purges, longest_kept_s
from gateway.settings import shown_origin, variable
from gateway.settings.reached import console_url, export_for_commands
from gateway.telemetry import metrics, tracing
from gateway.telemetry.logs import configure, log
from gateway.web.connections.fast_path import FastPath
from gateway.web.connections.listener import ConnectionListener
from gateway.web.metrics import snapshot
from gateway.web.requests.request_parser import check_parser
from gateway.web.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from admin.source import ProcessSource
    from gateway.runtime.write_journal import WriteJournal
    from gateway.runtime.writes import Write
    from gateway.settings import Address, Settings
    from gateway.telemetry.inspection import Answer, Question
    from gateway.web.connections.server import ConnectionServer

LAST_WAIT_S = 0.1
# Advice for an address that cannot be listened on, by errno.
WAYS_OUT = {
    errno.EADDRINUSE: "end what listens there, or choose another address",
    errno.EADDRNOTAVAIL: "choose an address of this machine, or 0.0.0.0 for every IPv4 address",
    errno.EACCES: "choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
}
# A start opens about 30 files, a log and its libraries some more; each connection takes one.
LEAST_FILES, FEW_FILES = 128, 1024
RAISE_FILES = "raise it, by ulimit -n or, in a systemd unit, LimitNOFILE="
CUT_SHORT = 1  # the exit status after a second signal to stop
# seconds; make and `timeout` pass on a signal that the whole process group has had already
INSISTS_AFTER_S = 1.0
# This clock runs on while the machine is suspended, so that a stream expires after the same time
# whether the server runs, is stopped or sleeps with its machine. Other systems do not count sleep.
RUNNING = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def _running_s() -> float:
    """Return the seconds since an arbitrary moment, by a clock that nobody sets."""
    return time.clock_gettime(RUNNING)


class Gateway:
    """A gateway in this process, from its start to its drain.

    As one of several `workers` it shares its port with the others, and has no admin listener.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        journal: WriteJournal | None = None,
        console: bytes = b"",
    ) -> None:
        """Build all parts from the settings.

        A worker has the `journal` of all workers' writes, and `console`, the hash of the console
        token, which the supervisor made. Raises StartError if the libraries for tracing are
        missing, or a cache's token or the tokens_file cannot be read.
        """
        self._settings = settings
        self._journal = journal
        self._shared = app.shared_by_all(settings, time.time, running=_running_s)
        tracer = tracing.begin(os.environ)
        if journal is not None:
            journal.on_write, journal.on_loss = self._invalidate, self._invalidate_all
        self._purges = Purges(
            settings.purges,
            time.monotonic,
            wall_clock=time.time,
            give_up_s=longest_kept_s(settings.route_table),
        )
        self._shared.connect(tracer=tracer, journal=journal, purge=self._purges.purge)
        self._console = ConsoleToken()
        self._authorities = Authorities(settings, time.time, console or self._console.digest)
        self._in_order = [
            app.route_of(settings, route, self._authorities, self._shared)
            for route in settings.route_table
        ]
        self._routes = Router(self._in_order)
        self._fast = FastPath(self._routes, self._shared)
        self._inspector = app.inspector(self._routes)
        self._started = False
        self._open = AsyncExitStack()

    def catch_up(self) -> None:
        """Process the writes of other workers, for live readers, whose waits no request ends."""
        if self._journal is not None:
            self._journal.catch_up()

    def _invalidate(self, write: Write) -> None:
        for route in self._in_order:
            if route.prefix == write.prefix:
                route.invalidate(write)

    def _invalidate_all(self) -> None:
        log.warning("worker.writes_missed")
        self._shared.store.clear()
        for route in self._in_order:
            route.invalidate_all()

    async def health(self) -> Health:
        """Return the health of this process and of its routes."""
        server = None if self._started else STARTING
        if self._shared.closing:
            server = "stopping"
        health = Health({"server": server}, {})
        for route in self._in_order:
            health.checks.update(route.readiness())
            health.notes.update(route.notes())
        health.notes.update(self._purges.notes())
        health.notes.update(self._authorities.notes())
        return health

    def numbers(self) -> metrics.Snapshot:
        """Return the metrics of this process."""
        return (
            *snapshot(self._shared, self._routes),
            *self._purges.samples(),
            *self._authorities.samples(),
            *metrics.of_this_process(),
        )

    async def measure(self) -> metrics.Snapshot:
        """Return the metrics of the whole gateway, for a process that serves alone."""
        return (*metrics.of_all(), *self.numbers())

    async def ask(self, question: Question) -> list[Answer]:
        """Return the answer of this process to a question of the console."""
        return [await self._inspector.answer(question)]

    async def start(self) -> None:
        """Open the routes, then the listeners; `stop` closes them in reverse order."""
        check_parser(asyncio.get_running_loop())
        settings = self._settings
        self._shared.lag.start()
        self._open.callback(self._shared.lag.stop)
        self._authorities.start()
        self._open.push_async_callback(self._authorities.stop)
        self._purges.open()
        self._open.push_async_callback(self._purges.close)
        for route in self._in_order:
            await route.open()
            self._open.push_async_callback(route.close)
        if self._journal is None:
            await open_admin(self, settings, self._console, self._open)
        connections = app.connection_server(settings, self._routes, self._fast, self._shared)
        self._open.callback(connections.stop_sweeping)
        # The drain has waited for the requests already.
        self._open.push_async_callback(connections.connections.close, LAST_WAIT_S)
        self._listener = ConnectionListener(connections)
        listen = settings.listen
        with explaining(listen, "listen"):
            await self._listener.open(listen.host, listen.port, shared=self._journal is not None)
        self._open.push_async_callback(self._drain, connections)
        self._started = True

    async def _drain(self, connections: ConnectionServer) -> None:
        """Stop listening for streams, and wait for requests under way for shutdown_grace.

        The admin listener stays open, and reports that this process is stopping.
        """
        self._listener.close()
        try:
            async with asyncio.timeout(self._settings.shutdown_grace):
                for route in self._routes:
                    await route.drain()
                await connections.connections.all_idle()
                await self._purges.drain()
                if self._shared.tracer is not None:
                    await self._shared.tracer.close()
        except TimeoutError:
            log.warning("server.drain_incomplete", grace_s=self._settings.shutdown_grace)

    async def stop(self) -> None:
        """Drain, then close everything that was opened."""
        self._shared.begin_closing()
        if self._started:
            log.info("server.stopping")
        await self._open.aclose()
        if self._started:
            log.info("server.stopped")


async def open_admin(
    source: ProcessSource, settings: Settings, console: ConsoleToken, opened: AsyncExitStack
) -> None:
    """Open the admin listener: console, health checks and metrics. Raises StartError."""
    from admin import app as application  # 1 MB, which workers do not need
    from gateway.admin_listener import AdminBounds, AdminListener, with_admin_bounds

    shared = app.shared_by_all(with_admin_bounds(settings), time.time)
    shared.add_to_refusals(application.REFUSAL_LINES)
    bounds = AdminBounds(shared)
    setup = Setup(settings, formats(settings.route_table), time.time, console, bounds)
    address = settings.admin
    listener = AdminListener(application.build(source, setup), bounds, settings.keepalive_timeout)
    opened.push_async_callback(listener.close)
    with explaining(address, "admin"):
        await listener.open(address)


@contextmanager
def explaining(address: Address, key: str) -> Iterator[None]:
    """Turn an OSError into a StartError that names the setting and says what to do."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, socket.gaierror):  # its errno is not one of the system's
            reason = error.strerror or reason
        if error.errno in WAYS_OUT:
            reason += f"; {WAYS_OUT[error.errno]}, with {key}, {variable(key)} or --{key}"
        raise StartError(f"cannot listen on {address} ({key}): {reason}") from error


def announce_start(settings: Settings) -> None:
    """Print or log the URLs of streams and console, and what the commands need."""
    export = export_for_commands(settings)
    routes = {
        f"http://{settings.listen}{route.prefix}": shown_origin(route.origin)
        for route in settings.route_table
    }
    if sys.stderr.isatty():
        lines = [f"Serving {url}/… from {origin}" for url, origin in routes.items()]
        lines.append(f"Dashboard at {console_url(settings)}")
        if export is not None:
            lines.append(f"For the commands, in each other terminal: {export}")
        sys.stderr.write("\n".join([*lines, "Ctrl-C stops."]) + "\n")
    else:
        log.info(
            "server.started",
            admin=str(settings.admin),
            dashboard=console_url(settings),
            routes=routes,
            **({} if export is None else {"for_commands": export}),
            workers=settings.workers,
            pid=os.getpid(),
        )


def run(settings: Settings) -> int:
    """Serve until a signal to stop; return the exit status. Raises StartError."""
    prepare(settings)
    check_open_files()
    return uvloop.run(_run(settings))


def prepare(settings: Settings) -> None:
    """Set up logging and the open-file limit, before anything else in a server process."""
    configure(settings.log_level, settings.log_format)
    _raise_open_file_limit()


async def _run(settings: Settings) -> int:
    gateway = Gateway(settings)
    stop = asyncio.Event()
    on_stop_signals(stop.set, lambda: os._exit(CUT_SHORT))
    try:
        if await is_started(gateway, stop):
            announce_start(settings)
            await stop.wait()
    finally:
        await gateway.stop()
    return 0


def on_stop_signals(
    on_first: Callable[[], None], on_repeat: Callable[[], None] | None = None
) -> None:
    """Call `on_first` at the first signal to stop, and `on_repeat` at those well after it."""
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def on_signal() -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
            on_first()
        elif on_repeat is not None and loop.time() - first_s >= INSISTS_AFTER_S:
            log.warning("server.cut")
            on_repeat()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, on_signal)
    # nohup ignores SIGHUP, so that the loss of the terminal changes nothing.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_signal if _has_terminal() else _ignore_hangup)


def _has_terminal() -> bool:
    """Return whether the process has a terminal; SIGHUP then says that it was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ignore_hangup() -> None:
    """Log that SIGHUP does nothing; it makes other servers reload their settings."""
    log.warning("server.hangup_ignored", advice="to take new settings, restart the server")


async def is_started(gateway: Gateway, stop: asyncio.Event) -> bool:
    """Start the gateway; return False if it has to stop before it serves. Raises StartError."""
    starting = asyncio.create_task(gateway.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return False
    await starting
    # Objects made so far live as long as the process, so the collector need not visit them.
    gc.collect()
    gc.freeze()
    # A batch of appends allocates more objects than the default of 700: each caused a collection.
    gc.set_threshold(20_000, 10, 10)
    return True


def check_open_files() -> None:
    """Warn about a low limit of open files. Raises StartError for one too low to serve."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= FEW_FILES:
        return
    if limit < LEAST_FILES:
        raise StartError(
            f"the open-file limit is {limit}: at least {LEAST_FILES} files are needed to serve "
            f"anybody, and one more for each connection: {RAISE_FILES}"
        )
    log.warning("server.few_open_files", limit=limit, advice=RAISE_FILES)


def _raise_open_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
