"""A gateway in this process, from its start to its drain."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from headgate_gateway import app
from headgate_gateway.errors import StartError
from headgate_gateway.features.composition import FeatureRoutes
from headgate_gateway.features.console_token import ConsoleToken, console_mark
from headgate_gateway.features.questions.process_source import (
    Health,
    ProcessReport,
    Restarts,
)
from headgate_gateway.process import reconfiguration
from headgate_gateway.process.clock_watch import running_s
from headgate_gateway.process.inherited_sockets import InheritedSockets
from headgate_gateway.process.listening import (
    check_free,
    explaining,
    open_admin,
    open_front,
    open_tls,
)
from headgate_gateway.process.reconfiguration import ActiveConfiguration, Maker
from headgate_gateway.process.reloader import Reloader
from headgate_gateway.settings.reached import stream_tls
from headgate_gateway.telemetry import metrics, outbound, tracing
from headgate_gateway.telemetry.health import STARTING, STOPPING, Cause, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, gauge
from headgate_gateway.web.connections.listener import ConnectionListener
from headgate_gateway.web.connections.server import ConnectionServer
from headgate_gateway.web.metrics import snapshot
from headgate_gateway.web.requests.request_head import check_parser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.front.front import Front
    from headgate_gateway.process.reloader import Reread
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.runtime.write_journal import Write, WriteJournal
    from headgate_gateway.settings import Settings
    from headgate_gateway.tls.handshakes import Handshakes

# For the first request of a new connection, which takes as long as a packet on its way: the
# connections that browsers open in advance have none, and delay each stop by it.
FIRST_REQUEST_S = 0.25
LAST_WAIT_S = 0.1  # for connections to close after the drain
NO_SOCKETS = InheritedSockets()
CONFIGURATIONS = gauge(
    "headgate_configurations_in_use",
    "1, and each configuration before a reload whose requests have not ended.",
)
DRAINING = gauge(
    "headgate_draining", "1 while the process stops and finishes the requests under way."
)


class Gateway:
    """A gateway in this process, from its start to its drain.

    A gateway that is one of several workers shares its port with the others, and has no admin
    listener.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        journal: WriteJournal | None = None,
        console: bytes = b"",
        reread: Reread | None = None,
        inherited: InheritedSockets = NO_SOCKETS,
    ) -> None:
        """Build all parts from the settings; `reread` returns the present ones for a reload.

        `inherited` are the listening sockets of the service manager. A worker gets instead the
        `journal` of all workers' writes, `console`, the hash of the console token that the
        supervisor made, and as `inherited` the socket by which a front reaches it. Raises
        StartError if the libraries for tracing are missing, or a cache's token or the tokens_file
        cannot be read.
        """
        self.console = ConsoleToken()
        tracer = tracing.start(os.environ)
        digest = console or self.console.digest
        self._services = services = app.make_services(
            settings,
            time.time,
            running=running_s,
            tracer=tracer,
            journal=journal,
            console_mark=console_mark(digest),
        )
        if journal is not None:
            journal.listen(self._invalidate, self._invalidate_all)
        maker = Maker(FeatureRoutes(services), digest, time.time)
        self._maker = maker
        authorities = maker.authorities(settings)
        routes = [
            app.route_of(settings, it, services, app.access_of(settings, it, authorities, services))
            for it in settings.route_table
        ]
        models = maker.features.make(settings, routes, authorities, ())
        parts = authorities, maker.purges(settings), routes, models, services
        self._configuration = ActiveConfiguration(settings, *parts)
        self._retiring: set[asyncio.Task[None]] = set()  # one for each former configuration
        self._connections: ConnectionServer | None = None  # None until the gateway serves
        self._is_stopping = False
        self.reloader = Reloader(settings, reread or (lambda: settings), self.reload)
        self._front: Front | None = None
        self._handshakes: Handshakes | None = None
        self._open_routes: list[StreamRoute] = []  # to be closed at the stop
        self._inherited = inherited
        self._exit_stack = AsyncExitStack()
        self.before_drain: list[Callable[[], Awaitable[None]]] = []

    def watch_processes(self, on_change: Callable[[], None]) -> None:
        """Do nothing: there is no other process."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._configuration.settings

    @property
    def _routes(self) -> tuple[StreamRoute, ...]:
        return self._configuration.routes

    def catch_up(self) -> None:
        """Process the writes of other workers now, so that waiting live readers see them."""
        if self._services.journal is not None:
            self._services.journal.catch_up()

    def _invalidate(self, write: Write) -> None:
        for route in self._routes:
            if route.prefix == write.prefix:
                route.invalidate(write)

    def _invalidate_all(self) -> None:
        log.warning("worker.writes_missed")
        self._services.store.clear()
        for route in self._routes:
            route.invalidate_all()

    async def health(self) -> Health:
        """Return the health of this process and of its routes."""
        server = STOPPING if self._is_stopping else STARTING if self._connections is None else ""
        checks = [HealthNote("server", cause=Cause(server) if server else None)]
        notes: list[HealthNote] = []
        for route in self._routes:
            checks += route.readiness()
            notes += route.notes()
        if self._front is not None:
            checks.append(HealthNote("front", cause=self._front.cause))
        active = self._configuration
        parts = (self._front, self._handshakes, self.reloader, active.purges, active.authorities)
        for part in parts:
            notes += () if part is None else part.notes()
        return Health(tuple(checks), tuple(notes))

    def numbers(self) -> metrics.Snapshot:
        """Return the metrics of this process."""
        configuration = self._configuration
        return (
            *snapshot(self._services, configuration.router),
            *configuration.purges.samples(),
            *configuration.authorities.samples(),
            *(() if self._handshakes is None else self._handshakes.samples()),
            Sample(CONFIGURATIONS, (), 1 + len(self._retiring)),
            Sample(DRAINING, (), float(self._is_stopping)),
            *outbound.samples(),
            *metrics.of_this_process(),
        )

    async def measure(self) -> metrics.Snapshot:
        """Return the metrics of the whole gateway, for a process that serves alone."""
        restarts = 0 if self._front is None else self._front.restarts
        of_all = metrics.of_all(front_restarts=restarts)
        return (*of_all, *self.reloader.samples(), *self.numbers())

    async def processes(self) -> list[ProcessReport]:
        """Return this process, which serves alone."""
        return [ProcessReport("server", os.getpid(), None, Restarts(), self.numbers())]

    async def query(self, question: Question) -> list[Answer]:
        """Return the answer of this process to a question of the console."""
        return [await self._configuration.inspector.answer(question)]

    async def start(self) -> None:
        """Open the routes, then the listeners; `stop` closes them in reverse order."""
        check_parser(asyncio.get_running_loop())
        configuration, services = self._configuration, self._services
        settings = configuration.settings
        if services.journal is None:
            check_free(settings, self._inherited)
        services.shedding.start()
        self._exit_stack.callback(services.shedding.stop)
        configuration.authorities.start()
        configuration.purges.open()
        self._exit_stack.push_async_callback(self._close_configuration)
        for route in (*configuration.routes, *configuration.models):
            await route.open()
            self._open_routes.append(route)
        if self._services.journal is None:
            at_admin = self._inherited.at(settings.admin.listen)
            await open_admin(self, self.reloader, self.console, self._exit_stack, at_admin)
        fast, handlers = configuration.fast_path, configuration.handlers
        connections = ConnectionServer(handlers, fast, services, settings.http.keepalive_timeout)
        self._exit_stack.callback(connections.stop_sweeping)
        # The drain has waited for the requests already.
        self._exit_stack.push_async_callback(connections.connections.close, LAST_WAIT_S)
        self._listen_for_front(connections)
        self._handshakes = open_tls(stream_tls(settings), self._exit_stack)
        self._listener = ConnectionListener(connections, self._handshakes)
        listen = settings.listen
        if inherited := self._inherited.at(listen):
            self._listener.adopt(inherited)
        else:
            is_shared = self._services.journal is not None
            with explaining(listen, "listen"):
                await self._listener.open(listen.host, listen.port, shared=is_shared)
        self._exit_stack.push_async_callback(self._drain, connections)
        if self._front is not None:
            await self._front.start()
        self._connections = connections

    def _listen_for_front(self, connections: ConnectionServer) -> None:
        """Accept connections of the front until it has ended, so it loses none while it stops."""
        if self._services.journal is None:
            inherited = self._inherited.of_front(self.settings)
            self._front = open_front(self.settings, self._exit_stack, inherited)
        listener = ConnectionListener(connections)
        self._exit_stack.callback(listener.close)
        listener.adopt(self._inherited.upstream)
        if self._front is not None:
            listener.adopt([self._front.upstream.dup()])
            self._exit_stack.push_async_callback(self._front.stop)

    async def reload(self, settings: Settings) -> None:
        """Serve by these settings from the next request on; readers of unchanged routes stay.

        Raises StartError if that is not possible, and then changes nothing.
        """
        if self._connections is None:
            raise StartError("the server is still starting: reload it once it is ready")
        self.commit(await self.prepare(settings))

    async def prepare(self, settings: Settings) -> reconfiguration.Reload:
        """Return a reload whose new parts are ready, while the present ones go on serving.

        Raises StartError, and then leaves nothing open.
        """
        prepared = reconfiguration.Reload(
            self._configuration, settings, self._services, self._maker, self._handshakes
        )
        await prepared.prepare()
        return prepared

    def commit(self, prepared: reconfiguration.Reload) -> None:
        """Put a prepared configuration in force; a task drains and closes the former one."""
        assert self._connections is not None, "only what serves is reloaded"
        grace_s = self.settings.shutdown.grace
        self._configuration = new = prepared.commit()
        self._open_routes = [*new.routes, *new.models]
        self._connections.serve(new.handlers, new.fast_path, new.settings.http.keepalive_timeout)
        task = asyncio.create_task(prepared.retire(self._connections, grace_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        if prepared.removes_routes:
            loop = asyncio.get_running_loop()
            # After the task is gone: until then it refers to the removed routes.
            task.add_done_callback(lambda _: loop.call_soon(reconfiguration.collect_frozen))

    async def _close_configuration(self) -> None:
        """Close the routes in reverse order, then the purges and the authorities."""
        if self._retiring:
            await asyncio.wait(self._retiring)
        while self._open_routes:
            await self._open_routes.pop().close()
        await self._configuration.purges.close()
        await self._configuration.authorities.stop()

    async def _drain(self, connections: ConnectionServer) -> None:
        """Stop listening for streams, and wait for requests under way for shutdown.grace.

        The admin listener stays open, and reports that this process is stopping.
        """
        self._listener.close()
        grace_s = self.settings.shutdown.grace
        try:
            async with asyncio.timeout(grace_s):
                configuration = self._configuration
                drained = (*configuration.routes, *configuration.models)
                await asyncio.gather(
                    connections.connections.first_requests(FIRST_REQUEST_S),
                    *(route.drain() for route in drained),
                )
                await connections.connections.all_idle()
                await self._configuration.purges.drain()
                if self._services.tracer is not None:
                    await self._services.tracer.close()
        except TimeoutError:
            log.warning("server.drain_incomplete", grace_s=grace_s)

    async def stop(self) -> None:
        """Drain, then close everything that was opened."""
        was_serving = self._connections is not None
        self._is_stopping = True
        if self._connections is not None:
            self._connections.begin_close()
        if self._front is not None:
            self._front.terminate()
        if was_serving:
            log.info("server.stopping")
            for prepare in self.before_drain:
                await prepare()
        await self._exit_stack.aclose()
        if was_serving:
            log.info("server.stopped")
