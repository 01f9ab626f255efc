"""The process that keeps the workers running, and reports on all of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import msgspec
import uvloop

from headgate_gateway.errors import StartError
from headgate_gateway.features.console_token import ConsoleToken
from headgate_gateway.features.questions.process_source import (
    Health,
    ProcessReport,
    Restarts,
)
from headgate_gateway.process import serve
from headgate_gateway.process.clock_watch import running_s
from headgate_gateway.process.inherited_sockets import InheritedSockets
from headgate_gateway.process.listening import bound, explaining, open_admin, open_front
from headgate_gateway.process.reconfiguration import check_fixed
from headgate_gateway.process.reloader import Reloader
from headgate_gateway.process.running_servers import AddressFile
from headgate_gateway.process.service_manager import ServiceManager
from headgate_gateway.runtime.shedding import LoopLag
from headgate_gateway.runtime.write_journal import share_memory
from headgate_gateway.settings import Address
from headgate_gateway.settings.sections.admin import AdminSettings
from headgate_gateway.telemetry import metrics, outbound
from headgate_gateway.telemetry.health import STOPPING, Cause, HealthNote, merged
from headgate_gateway.telemetry.logs import log, set_level
from headgate_gateway.workers.channel import StartMessage
from headgate_gateway.workers.worker_slot import LAST_S, SILENT, WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.front.front import Front
    from headgate_gateway.process.reloader import Reread
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Snapshot
    from headgate_gateway.workers.channel import WorkerReport


def run(settings: Settings, reread: Reread) -> int:
    """Serve by workers until a signal to stop; return the exit status. Raises StartError.

    `reread` returns the settings anew, for a reload; raises SettingsError.
    """
    serve.prepare(settings)
    serve.check_open_files()
    inherited = InheritedSockets.from_environment(os.environ)
    inherited.check(settings)
    return uvloop.run(_run(settings, reread, inherited))


async def _run(settings: Settings, reread: Reread, inherited: InheritedSockets) -> int:
    manager = ServiceManager.from_environment(os.environ)
    async with AsyncExitStack() as opened:
        shared = inherited.at(settings.listen)
        port = settings.listen.port
        if not shared:
            with explaining(settings.listen, "listen"):
                port = hold(settings.listen, opened)
        configured = settings.listen

        def at_port(settings: Settings) -> Settings:
            """Return the settings with the port that the system has chosen, if it was to."""
            chosen = Address(configured.host, port)
            return settings.but(listen=chosen) if settings.listen == configured else settings

        def reread_at_port() -> Settings:
            return at_port(reread())

        settings = at_port(settings)
        front = open_front(settings, opened, inherited.of_front(settings))
        if front is not None:
            opened.push_async_callback(front.stop)
            await front.start()  # requests wait at its upstream until a worker takes them
        console = ConsoleToken()
        supervisor = Supervisor(settings, reread_at_port, console.digest, manager, front, shared)
        opened.push_async_callback(manager.stop)
        at_admin = inherited.at(settings.admin.listen)
        lag = LoopLag(running_s, "the supervisor")
        lag.start()
        opened.callback(lag.stop)
        await open_admin(supervisor, supervisor.reloader, console, opened, at_admin)
        serve.on_stop_signals(supervisor.ask_to_stop, supervisor.cut)
        serve.on_hangup(supervisor.ask_to_stop, supervisor.reloader.start)
        return await supervisor.supervise()


def hold(address: Address, opened: AsyncExitStack) -> int:
    """Keep an address for the workers, without listening there; its port. Raises OSError."""
    port = address.port
    found = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM)
    for family, _, _, _, where in dict.fromkeys(found):
        # Another Headgate would share the port, too: so first ask for it alone.
        bound(family, (where[0], port), shared=False).close()
        held = opened.enter_context(closing(bound(family, (where[0], port), shared=True)))
        port = held.getsockname()[1]
    return port


def of_workers(settings: Settings) -> str:
    """Return the settings for workers as JSON, without those of the admin listener and its secrets.

    Only settings that were given are in it: a default may not be given where it has no meaning.
    """
    without_admin = settings.but(admin=AdminSettings(listen=Address("127.0.0.1", 0)))
    return json.dumps(without_admin.plain(secrets=True, explicit_only=True))


class Supervisor:
    """Its workers, each in its slot, which let in the console by the hash of its token."""

    def __init__(
        self,
        settings: Settings,
        reread: Reread,
        console: bytes,
        manager: ServiceManager,
        front: Front | None = None,
        shared: Sequence[socket.socket] = (),
    ) -> None:
        """Start no worker yet. All workers accept from the `shared` sockets of the manager."""
        self._shared = shared  # held open for the workers that are started later
        self._settings = settings
        self._manager = manager
        self._front = front
        listeners = [*shared, *(() if front is None else (front.upstream,))]
        self._start_message = StartMessage(
            of_workers(settings),
            console,
            share_memory(settings.workers),
            tuple(one.fileno() for one in listeners),
        )
        self._slots = [
            WorkerSlot(number, self._start_message, self._wake_others, self._note_change)
            for number in range(1, settings.workers + 1)
        ]
        self.reloader = Reloader(settings, reread, self.reload)
        self._address_file = AddressFile(settings, os.environ)
        self._stop = asyncio.Event()
        self._status = 0
        self.before_drain: list[Callable[[], Awaitable[None]]] = []
        self._on_change: list[Callable[[], None]] = []

    async def supervise(self) -> int:
        """Keep every slot taken until asked to stop. Raises StartError."""
        slots = [asyncio.create_task(slot.run()) for slot in self._slots]
        starting = asyncio.create_task(self._started())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            # A slot is done when its first worker cannot start.
            await asyncio.wait([*slots, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, stopping):
                task.cancel()
            await self._drain(slots)
        await asyncio.gather(*slots)
        log.info("server.stopped")
        return self._status

    async def _started(self) -> None:
        for slot in self._slots:
            await slot.started.wait()
        with self._address_file:
            serve.announce_start(self._settings, is_found=self._address_file.is_found)
            self._manager.report_start(self.reloader, self.any_answers)
            await self._stop.wait()

    async def _drain(self, slots: list[asyncio.Task[None]]) -> None:
        log.info("server.stopping")
        self._stop.set()
        self._manager.report_drain()
        if self._front is not None:
            self._front.terminate()
        for prepare in self.before_drain:
            await prepare()
        for slot in self._slots:
            slot.stop()
        grace_s = self._settings.shutdown.grace + LAST_S
        _, late = await asyncio.wait(slots, timeout=grace_s)
        if late:
            log.error("worker.killed", workers=len(late), after_s=grace_s)
            self._kill()
            await asyncio.wait(late)

    def watch_processes(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` when a worker has ended, and when the next one serves."""
        self._on_change.append(on_change)

    def _note_change(self) -> None:
        for on_change in self._on_change:
            on_change()

    def _wake_others(self, writer: WorkerSlot) -> None:
        for slot in self._slots:
            if slot is not writer:
                slot.wake()

    async def reload(self, settings: Settings) -> None:
        """Have all workers serve by these settings. Raises StartError, and changes none."""
        check_fixed(self._settings, settings)
        message = msgspec.structs.replace(self._start_message, settings=of_workers(settings))
        outcome: StartMessage | None = None
        try:
            refusals = await asyncio.gather(*(slot.prepare_reload(message) for slot in self._slots))
            refusal = next((why for why in refusals if why is not None), None)
            if refusal is not None:
                raise StartError(refusal)
            outcome = message
        finally:  # also if this gateway stops meanwhile: workers wait for it
            for slot in self._slots:
                slot.finish_reload(outcome)
        set_level(settings.log.level)
        self._start_message, self._settings = message, settings
        self._address_file.update(settings)

    def ask_to_stop(self) -> None:
        """Drain."""
        self._stop.set()

    def cut(self) -> None:
        """End at once."""
        self._status = serve.CUT_SHORT
        self._kill()

    def _kill(self) -> None:
        for slot in self._slots:
            slot.kill()

    # Reports

    async def health(self) -> Health:
        """Return the health: ready when one worker is, since it serves for the others."""
        stopping = Cause(STOPPING) if self._stop.is_set() else None
        workers: list[HealthNote] = []
        logs, notes = [], []
        for slot, report in zip(self._slots, await self._reports(), strict=True):
            cause: Cause | None = slot.cause or SILENT
            if report is not None:
                server, *of_worker = report.health.checks
                cause = server.cause
                logs.append((slot.number, of_worker))
                notes.append((slot.number, report.health.notes))
            workers.append(HealthNote("worker", str(slot.number), cause))
        checks, noted = [HealthNote("server", cause=stopping), *merged(logs)], merged(notes)
        if self._front is not None:
            checks.append(HealthNote("front", cause=self._front.cause))
            noted = (*noted, *self._front.notes())
        replaced = (note for slot in self._slots for note in slot.notes())
        noted = (*noted, *self.reloader.notes(), *replaced)
        if any(it.cause is None for it in workers):
            return Health((*checks,), (*workers, *noted))
        return Health((*checks, *workers), noted)

    async def measure(self) -> Snapshot:
        """Return the metrics of all workers together and of this process."""
        reports = await self._reports()
        snapshots = [
            slot.numbers(report) for slot, report in zip(self._slots, reports, strict=True)
        ]
        whole = metrics.of_all(
            workers=len(self._slots),
            silent=reports.count(None),
            restarts=sum(slot.restarts.total for slot in self._slots),
            hangs=sum(slot.hangs for slot in self._slots),
            front_restarts=0 if self._front is None else self._front.restarts,
        )
        return (
            *whole,
            *self.reloader.samples(),
            *metrics.together([*snapshots, _own_numbers()]),
        )

    async def processes(self) -> list[ProcessReport]:
        """Return this process and each worker."""
        own = ProcessReport("supervisor", os.getpid(), None, Restarts(), _own_numbers())
        reports = await self._reports()
        workers = zip(self._slots, reports, strict=True)
        return [own, *(slot.process(report) for slot, report in workers)]

    async def query(self, question: Question) -> list[Answer]:
        """Return the answers of the workers that answer in time."""
        answers = await asyncio.gather(*(slot.query(question) for slot in self._slots))
        return [answer for answer in answers if answer is not None]

    async def any_answers(self) -> bool:
        """Return whether a worker serves.

        A worker that does not answer is replaced here. A restart of all workers would cut off
        the readers of those that do.
        """
        return any(report is not None for report in await self._reports())

    async def _reports(self) -> list[WorkerReport | None]:
        return await asyncio.gather(*(slot.report() for slot in self._slots))


def _own_numbers() -> Snapshot:
    """Return the metrics of the supervisor, which sends alerts and talks to the front."""
    return (*metrics.of_this_process(), *outbound.samples())
