"""Runs a gateway in this process: start, signals and stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from headgate_gateway.errors import StartError
from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.outgoing_proxies import in_words, proxy_uses
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.process.inherited_sockets import InheritedSockets
from headgate_gateway.process.reloader import log_dangers
from headgate_gateway.process.running_servers import AddressFile
from headgate_gateway.process.service_manager import ServiceManager
from headgate_gateway.settings import ModelSettings, redacted_origin
from headgate_gateway.settings.reached import console_url, export_for_commands, front_urls
from headgate_gateway.telemetry.event_journal import JOURNAL
from headgate_gateway.telemetry.logs import configure, log
from headgate_gateway.telemetry.metrics import of_this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.process.reloader import Reread
    from headgate_gateway.settings import ProxySettings, Settings


# A start opens about 30 files, a log and its libraries some more; each connection takes one.
LEAST_FILES, FEW_FILES = 128, 1024
RAISE_FILES = "raise it, by ulimit -n or, in a systemd unit, LimitNOFILE="
CUT_SHORT = 1  # the exit status after a second signal to stop
# seconds; make and `timeout` pass on a signal that the whole process group has had already
INSISTS_AFTER_S = 1.0


def announce_start(settings: Settings, *, is_found: bool) -> None:
    """Print or log the URLs of streams and console, and what commands need if they find neither.

    Warnings of dangerous settings are logged before.
    """
    log_dangers(settings)
    export = None if is_found else export_for_commands(settings)
    scheme = "https" if settings.tls.certificate else "http"
    routes = {
        f"{scheme}://{settings.listen}{route.prefix}": redacted_origin(route.location)
        for route in settings.route_table
    }
    others: list[ModelSettings | ProxySettings] = [*settings.models, *settings.proxies]
    passed_on = {f"{scheme}://{settings.listen}{one.prefix}": _passed_on_to(one) for one in others}
    front = front_urls(settings)
    uses = proxy_uses(settings)
    if sys.stderr.isatty():
        lines = [f"Serving {url}/… from {origin}" for url, origin in routes.items()]
        lines += [f"Passing {url}/… on to {to}" for url, to in passed_on.items()]
        lines += [f"The same by Caddy at {url}" for url in front]
        lines += [f"Requests of its own: {in_words(uses)}"] if uses else []
        lines.append(f"Dashboard at {console_url(settings)}")
        if export is not None:
            lines.append(f"For the commands, in each other terminal: {export}")
        sys.stderr.write("\n".join([*lines, "Ctrl-C stops."]) + "\n")
        JOURNAL.note("server.started", {})  # as the log line does
    else:
        log.info(
            "server.started",
            admin=str(settings.admin.listen),
            dashboard=console_url(settings),
            routes=routes,
            **({"passed_on": passed_on} if passed_on else {}),
            **({"front": front} if front else {}),
            **({"proxies": uses} if uses else {}),
            **({} if export is None else {"for_commands": export}),
            workers=settings.workers,
            pid=os.getpid(),
        )


def _passed_on_to(one: ModelSettings | ProxySettings) -> str:
    """Return where a table's requests are passed on, and below which path answers are stored."""
    others = one.upstream if isinstance(one, ModelSettings) else "allowed hosts"
    return f"{others}, stored in {one.streams}"


def run(settings: Settings, reread: Reread) -> int:
    """Serve until a signal to stop; return the exit status. Raises StartError.

    `reread` returns the settings anew, for a reload; raises SettingsError.
    """
    prepare(settings)
    check_open_files()
    log_lost()
    inherited = InheritedSockets.from_environment(os.environ)
    inherited.check(settings)
    return uvloop.run(_run(settings, reread, inherited))


def prepare(settings: Settings) -> None:
    """Set up logging and the open-file limit, before anything else in a server process."""
    configure(settings.log.level, settings.log.format)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    OPEN_FILES.limit_to(hard)


async def _run(settings: Settings, reread: Reread, inherited: InheritedSockets) -> int:
    gateway = Gateway(settings, reread=reread, inherited=inherited)
    manager = ServiceManager.from_environment(os.environ)
    stop = asyncio.Event()
    on_stop_signals(stop.set, lambda: os._exit(CUT_SHORT))
    on_hangup(stop.set, gateway.reloader.start)
    try:
        if await is_started(gateway, stop):
            with AddressFile(settings, os.environ) as address_file:
                gateway.reloader.on_reload.append(address_file.update)
                announce_start(settings, is_found=address_file.is_found)
                manager.report_start(gateway.reloader)
                await stop.wait()
    finally:
        manager.report_drain()
        await gateway.stop()
        await manager.stop()
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


def on_hangup(on_closed: Callable[[], None], on_reload: Callable[[], None]) -> None:
    """Call `on_closed` when SIGHUP says that the terminal was closed, else `on_reload`.

    nohup ignores SIGHUP, so that the loss of the terminal ends nothing: then it only reloads.
    """
    ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def on_signal() -> None:
        if ends_with_terminal and not _has_terminal():
            on_closed()
        else:
            on_reload()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_signal)


def _has_terminal() -> bool:
    """Return whether the process has a terminal that is still open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


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


def log_lost() -> None:
    """Log in one line what does not work on this system, which is nothing on Linux."""
    parts = {
        "several workers": hasattr(os, "memfd_create"),
        "metrics of the process": bool(of_this_process()),
        "the end of a front whose gateway is killed": sys.platform == "linux",
    }
    lost = [one for one, is_there in parts.items() if not is_there]
    if lost:
        log.warning("server.not_on_linux", lost=lost)
