"""Puts the parts together and runs them: the only module that names concrete classes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

import admin.app
from gateway.backends.registry import log_for
from gateway.cache.policy import Defaults
from gateway.cache.response_rules import ResponseRules
from gateway.cache.store import Store
from gateway.edge.route import EdgeRoute
from gateway.errors import StartError
from gateway.hosted.route import HostedRoute
from gateway.live.contract import FeedSettings
from gateway.origin.client import Origin, OriginSettings
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.identity import IdentityHeaders
from gateway.protocol.retention import Retention
from gateway.runtime.access_log import AccessLog
from gateway.runtime.common_headers import CommonHeaders
from gateway.runtime.context import Context, Timeouts
from gateway.runtime.limits import Limits
from gateway.settings import shown_origin
from gateway.telemetry import metrics
from gateway.telemetry.logs import configure, log
from gateway.web.edge_handlers import EdgeHandlers
from gateway.web.fast_path import FastPath
from gateway.web.handlers import Handlers
from gateway.web.hosted_handlers import HostedHandlers
from gateway.web.listener import ConnectionListener
from gateway.web.metrics import snapshot
from gateway.web.router import Router
from gateway.web.server import ConnectionServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.backends.contract import Log
    from gateway.runtime.route import Route
    from gateway.runtime.writes import Write
    from gateway.settings import Address, Settings
    from gateway.settings import Route as RouteSettings
    from gateway.web.handlers import Operate

LAST_WAIT_S = 0.1
CUT_SHORT = 1  # the exit status after a second signal to stop
# make and `timeout` pass on a signal that the whole group of processes has had already.
INSISTS_AFTER_S = 1.0


def shared_by_all(settings: Settings, clock: Callable[[], float]) -> Context:
    """What the routes and connections share."""
    lines = CommonHeaders(clock, settings.cors_origins)
    return Context(
        clock,
        Store(settings.cache_size),
        Limits(
            max_connections=settings.connection_limit(_open_file_limit()),
            max_live_readers=settings.max_live_readers,
            max_feeds=settings.max_feeds,
            max_append=settings.max_append,
            max_pending_appends=settings.max_pending_appends,
        ),
        lines,
        AccessLog(settings.log_requests, lines),
        Timeouts(
            settings.header_timeout,
            settings.body_timeout,
            settings.min_body_rate,
            settings.long_poll_timeout,
        ),
    )


def log_route(
    settings: Settings, route: RouteSettings, backend: Log, shared: Context
) -> HostedRoute:
    """The route to an own log."""
    return HostedRoute(
        route.prefix,
        backend,
        _freshness(route),
        Retention(route.retention_age, route.retention_size),
        _feeds(settings),
        shared,
    )


def edge_route(settings: Settings, route: RouteSettings, shared: Context) -> EdgeRoute:
    """The route to an HTTP origin."""
    origin = Origin(OriginSettings.of(route))
    rules = ResponseRules(
        _freshness(route),
        Defaults(route.stale_if_error),
        shared.via,
        IdentityHeaders(route.identity_headers, route.drop_headers),
        origin.location,
        ignore_no_store=route.no_store == "ignore",
        shares_s_maxage=route.s_maxage == "share",
    )
    return EdgeRoute(route.prefix, origin, rules, route.drop_query, _feeds(settings), shared)


def connection_server(
    settings: Settings, routes: Router, fast: FastPath, shared: Context
) -> ConnectionServer:
    """What serves the connections of clients of these routes."""
    operations: dict[type[Route], Operate] = {
        HostedRoute: HostedHandlers(routes, shared).operate,
        EdgeRoute: EdgeHandlers(shared).operate,
    }
    return ConnectionServer(
        Handlers(routes, operations, shared).handle,
        fast,
        shared,
        access_log=None,
        keepalive_timeout=settings.keepalive_timeout,
        auto_decompress=False,
    )


def _freshness(route: RouteSettings) -> Freshness:
    return Freshness(route.chunk_lifetime, route.stale_while_revalidate, route.tail_max_age)


def _feeds(settings: Settings) -> FeedSettings:
    return FeedSettings(settings.long_poll_timeout, settings.sse_heartbeat, settings.sse_max_age)


class Server:
    """A Headgate in this process, from open to drained.

    As one of several `workers` it shares its port with the others, and has no admin listener.
    """

    def __init__(
        self, settings: Settings, *, tell_others: Callable[[Write], None] | None = None
    ) -> None:
        """`tell_others` is given what other workers should hear of, where there are any."""
        self._settings = settings
        self._is_worker = tell_others is not None
        self._shared = shared_by_all(settings, time.time)
        if tell_others is not None:
            self._shared.tell_others = tell_others
        self._in_order = [self._route(route) for route in settings.route_table]
        self._routes = Router(self._in_order)
        self._fast = FastPath(self._routes, self._shared)
        self._started = False
        self._open = AsyncExitStack()

    def _route(self, route: RouteSettings) -> Route:
        if route.is_http:
            return edge_route(self._settings, route, self._shared)
        return log_route(self._settings, route, log_for(route), self._shared)

    def heard(self, write: Write) -> None:
        """Another worker has passed a write through."""
        for route in self._in_order:
            if route.prefix == write.prefix:
                route.invalidate(write)

    async def health(self) -> admin.app.Health:
        """This process and what its routes tell."""
        server = None if self._started else "starting"
        if self._shared.closing:
            server = "stopping"
        health = admin.app.Health({"server": server}, {})
        for route in self._in_order:
            health.checks.update(route.readiness())
            health.notes.update(route.notes())
        return health

    def numbers(self) -> metrics.Snapshot:
        """What is measured in this process."""
        return (
            *snapshot(self._shared, self._routes, self._fast),
            *metrics.of_this_process(),
        )

    async def measure(self) -> metrics.Snapshot:
        """The same, of a process that serves alone."""
        return (*metrics.of_all(), *self.numbers())

    async def start(self) -> None:
        """Open the routes, then the listeners; what is opened is closed the other way round."""
        settings = self._settings
        for route in self._in_order:
            await route.open()
            self._open.push_async_callback(route.close)
        if not self._is_worker:
            await open_admin(self, settings.admin, self._open)
        connections = connection_server(settings, self._routes, self._fast, self._shared)
        self._open.callback(connections.stop_sweeping)
        # What the drain has waited for is not waited for again.
        runner = web.ServerRunner(connections, shutdown_timeout=LAST_WAIT_S)
        await runner.setup()
        self._open.push_async_callback(runner.cleanup)
        self._listener = ConnectionListener(connections)
        listen = settings.listen
        with telling(listen, "listen"):
            await self._listener.open(listen.host, listen.port, shared=self._is_worker)
        self._open.push_async_callback(self._drain, connections)
        self._started = True

    async def _drain(self, connections: ConnectionServer) -> None:
        """Accept no more streams' connections, and give what is under way its time.

        The admin listener goes on: it tells that this process is stopping.
        """
        self._listener.close()
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


async def open_admin(source: admin.app.Source, address: Address, opened: AsyncExitStack) -> None:
    """Listen for whoever asks how all is; raises StartError."""
    logging.getLogger("aiohttp.server").addFilter(_is_no_clients_mistake)
    runner = web.AppRunner(admin.app.build(source), access_log=None)
    await runner.setup()
    opened.push_async_callback(runner.cleanup)
    with telling(address, "admin"):
        await web.TCPSite(runner, address.host, address.port).start()


def _is_no_clients_mistake(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp tells of more than a request that is no HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


@contextmanager
def telling(address: Address, key: str) -> Iterator[None]:
    """Say of an address that cannot be listened on which setting it comes from."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, socket.gaierror):  # whose numbers are others
            reason = error.strerror or reason
        raise StartError(f"cannot listen on {address} ({key}): {reason}") from error


def tell_started(settings: Settings) -> None:
    """Say where streams are served, in the log or to whoever sits before it."""
    routes = {
        f"http://{settings.listen}{route.prefix}": shown_origin(route.origin)
        for route in settings.route_table
    }
    if sys.stderr.isatty():
        lines = [f"Serving {url}/… from {origin}" for url, origin in routes.items()]
        sys.stderr.write("\n".join([*lines, "Ctrl-C stops."]) + "\n")
    else:
        log.info(
            "server.started",
            admin=str(settings.admin),
            routes=routes,
            workers=settings.workers,
            pid=os.getpid(),
        )


def run(settings: Settings) -> int:
    """Serve until a signal to stop; the exit status. Raises StartError."""
    prepare(settings)
    return uvloop.run(_run(settings))


def prepare(settings: Settings) -> None:
    """What a process needs before it does anything."""
    configure(settings.log_level, settings.log_format)
    _raise_open_file_limit()


async def _run(settings: Settings) -> int:
    server = Server(settings)
    stop = asyncio.Event()
    on_stop_signals(stop.set, lambda: os._exit(CUT_SHORT))
    try:
        if await is_started(server, stop):
            tell_started(settings)
            await stop.wait()
    finally:
        await server.stop()
    return 0


def on_stop_signals(asked: Callable[[], None], insisted: Callable[[], None] | None = None) -> None:
    """Call `asked` at the first signal to stop, and `insisted` at those well after it."""
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def hear() -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
            asked()
        elif insisted is not None and loop.time() - first_s >= INSISTS_AFTER_S:
            log.warning("server.cut")
            insisted()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, hear)
    # nohup has it ignored: the loss of the terminal is to change nothing.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, hear)


async def is_started(server: Server, stop: asyncio.Event) -> bool:
    """Start; False when it is to stop before it serves. Raises StartError."""
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return False
    await starting
    # What lives now lives as long as the process: spare the collector walking over it.
    gc.collect()
    gc.freeze()
    # A batch of appends is more objects than the default of 700, so that each was a collection.
    gc.set_threshold(20_000, 10, 10)
    return True


def _open_file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _raise_open_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
