"""Puts the parts together and runs them: the only module that names concrete classes."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web

import admin.app
from gateway.backends.registry import log_for
from gateway.cache.store import Store
from gateway.errors import StartError
from gateway.live.host import FeedSettings
from gateway.protocol.caching import Freshness
from gateway.streams.sweeper import Sweeper
from gateway.telemetry.logs import configure, log
from gateway.web.common_lines import CommonLines
from gateway.web.connection import ConnectionServer
from gateway.web.fast import Fast
from gateway.web.handlers import Handlers
from gateway.web.limits import Limits
from gateway.web.requests_log import RequestsLog
from gateway.web.route import Route, Routes
from gateway.web.shared import Shared, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.backends.base import Log
    from gateway.settings import Address, Settings
    from gateway.settings import Route as RouteSettings

LAST_WAIT_S = 0.1
BACKLOG = 4096  # a herd of reconnecting viewers comes at once


class Server:
    """A Headgate in this process, from open to drained."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        lines = CommonLines(time.time, settings.cors_origins)
        self._shared = Shared(
            time.time,
            Store(settings.cache_size),
            Limits(
                max_connections=settings.connection_limit(_open_file_limit()),
                max_live_readers=settings.max_live_readers,
                max_append=settings.max_append,
                max_pending_appends=settings.max_pending_appends,
            ),
            lines,
            RequestsLog(settings.log_requests, lines),
            Timeouts(settings.header_timeout, settings.body_timeout, settings.long_poll_timeout),
        )
        self._logs: dict[str, Log] = {}
        self._routes = Routes([self._route(route) for route in settings.route_table])
        self._sites: list[web.TCPSite] = []
        self._started = False
        self._open = AsyncExitStack()

    def _route(self, route: RouteSettings) -> Route:
        settings = self._settings
        backend = self._logs[route.prefix] = log_for(route.origin)
        return Route(
            route.prefix,
            backend,
            Freshness(route.max_age, route.stale_while_revalidate, route.tail_max_age),
            FeedSettings(settings.long_poll_timeout, settings.sse_heartbeat, settings.sse_max_age),
            self._shared,
        )

    def checks(self) -> Mapping[str, str | None]:
        """What readiness depends on."""
        server = None if self._started else "starting"
        if self._shared.closing:
            server = "stopping"
        troubles = {f"log {prefix}": backend.trouble() for prefix, backend in self._logs.items()}
        return {"server": server, **troubles}

    async def start(self) -> None:
        """Open the logs, then the listeners; what is opened is closed the other way round."""
        settings = self._settings
        for backend in self._logs.values():
            await backend.open()
            self._open.push_async_callback(backend.close)
        for route in self._routes:
            sweeper = Sweeper(route.table, route.lifecycle)
            sweeper.start()
            self._open.push_async_callback(sweeper.stop)
        admin_runner = web.AppRunner(admin.app.build(self), access_log=None)
        await self._listen(admin_runner, settings.admin, "admin")
        connections = ConnectionServer(
            Handlers(self._routes, self._shared).handle,
            Fast(self._routes, self._shared),
            self._shared,
            access_log=None,
            keepalive_timeout=settings.keepalive_timeout,
            auto_decompress=False,
        )
        self._open.callback(connections.stop_sweeping)
        # What the drain has waited for is not waited for again.
        runner = web.ServerRunner(connections, shutdown_timeout=LAST_WAIT_S)
        await self._listen(runner, settings.listen, "listen")
        self._open.push_async_callback(self._drain, connections)
        self._started = True
        self._tell_started()

    def _tell_started(self) -> None:
        settings = self._settings
        routes = {
            f"http://{settings.listen}{route.prefix}": _absolute(route.origin)
            for route in settings.route_table
        }
        if sys.stderr.isatty():
            lines = [f"Serving {url}/… from {origin}" for url, origin in routes.items()]
            sys.stderr.write("\n".join([*lines, "Ctrl-C stops."]) + "\n")
        else:
            log.info("server.started", admin=str(settings.admin), routes=routes, pid=os.getpid())

    async def _listen(self, runner: web.BaseRunner, address: Address, key: str) -> None:
        await runner.setup()
        self._open.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, address.host, address.port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartError(f"cannot listen on {address} ({key}): {reason}") from error
        self._sites.append(site)

    async def _drain(self, connections: ConnectionServer) -> None:
        """Accept no more streams' connections, and give what is under way its time.

        The admin listener goes on: it tells that this process is stopping.
        """
        await self._sites[-1].stop()
        try:
            async with asyncio.timeout(self._settings.shutdown_grace):
                for route in self._routes:
                    await route.drain()
                await connections.all_idle()
        except TimeoutError:
            log.warning("server.drain_incomplete", grace_s=self._settings.shutdown_grace)

    async def stop(self) -> None:
        """Drain, then close everything that was opened."""
        self._shared.closing = True
        if self._started:
            log.info("server.stopping")
        await self._open.aclose()
        if self._started:
            log.info("server.stopped")


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises StartError."""
    configure(settings.log_level, settings.log_format)
    _raise_open_file_limit()
    return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    server = Server(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        await server.start()
        # What lives now lives as long as the process: spare the collector walking over it.
        gc.collect()
        gc.freeze()
        await stop.wait()
    finally:
        await server.stop()
    return 0


def _absolute(origin: str) -> str:
    """The origin with its folder as it is from anywhere."""
    scheme, _, folder = origin.partition(":")
    return f"file:{Path(folder).resolve()}" if scheme == "file" else origin


def _open_file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _raise_open_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
