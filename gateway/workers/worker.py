"""A worker among several: the process, `python -m gateway.workers NUMBER`.

Its stdin is its end of the channel to the supervisor. When that ends, it drains and ends too.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import TYPE_CHECKING

import uvloop

from gateway.errors import StartError
from gateway.process import serve
from gateway.process.gateway import Gateway
from gateway.process.inherited_sockets import InheritedSockets
from gateway.runtime.write_journal import WriteJournal
from gateway.settings import Settings
from gateway.telemetry.logs import add_fields, log
from gateway.workers.channel import (
    Channel,
    FinishReload,
    JournalWrittenMessage,
    PrepareReload,
    ReadyMessage,
    ReloadOutcome,
    ReportStatus,
    StartFailureMessage,
    StartMessage,
    StopMessage,
    WorkerAnswer,
    WorkerQuestion,
    WorkerReport,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.process.reconfiguration import Reload

REFUSED = 2  # the exit status, as of a process that cannot start alone


def main() -> None:
    """Serve until the supervisor says so, or is gone."""
    number = int(sys.argv[1])
    add_fields(worker=number)
    sys.exit(uvloop.run(_work(number, socket.socket(fileno=sys.stdin.fileno()))))


async def _work(number: int, end: socket.socket) -> int:
    channel = await Channel.over(end)
    first = await channel.receive()
    if not isinstance(first, StartMessage):  # the supervisor is gone already
        return 0
    settings = Settings.of(json.loads(first.settings))
    serve.prepare(settings)
    wake_others = _once_a_turn(lambda: channel.send(JournalWrittenMessage()))
    journal = WriteJournal(first.journal, settings.workers, number, wake_others)
    try:
        inherited = _inherited(first)
        gateway = Gateway(settings, journal=journal, console=first.console, inherited=inherited)
        await _serve(channel, gateway)
    except StartError as refusal:
        channel.send(StartFailureMessage(refusal.detail))
        return REFUSED
    finally:
        await channel.close()
    return 0


def _inherited(first: StartMessage) -> InheritedSockets:
    """Return the sockets from which this worker accepts connections with all others."""
    listeners = tuple(socket.socket(fileno=number) for number in first.listeners)
    for one in listeners:
        one.setblocking(False)
    return InheritedSockets(listeners)


def _once_a_turn(step: Callable[[], None]) -> Callable[[], None]:
    """Return a function that schedules `step` once for the end of the event loop's turn."""
    loop = asyncio.get_running_loop()
    is_due = False

    def take() -> None:
        nonlocal is_due
        is_due = False
        step()

    def begin() -> None:
        nonlocal is_due
        if not is_due:
            is_due = True
            loop.call_soon(take)

    return begin


async def _serve(channel: Channel, gateway: Gateway) -> None:
    stop = asyncio.Event()
    # To be ended at once is the supervisor's to say, who kills.
    serve.on_stop_signals(stop.set)
    listening = asyncio.create_task(_listen(channel, gateway, stop))
    try:
        if await serve.is_started(gateway, stop):
            log.info("worker.started", pid=os.getpid())
            channel.send(ReadyMessage())
            await stop.wait()
    finally:
        await gateway.stop()
        listening.cancel()


class WorkerReload:
    """The reload of a worker, in two steps, so that all workers change together or none does."""

    def __init__(self, channel: Channel, gateway: Gateway) -> None:
        self._channel = channel
        self._gateway = gateway
        self._prepared: Reload | None = None

    async def prepare(self, settings: str) -> None:
        """Prepare a reload with these settings, and tell the supervisor whether that worked."""
        await self.finish(commits=False)  # one that the supervisor has given up
        refusal = None
        try:
            self._prepared = await self._gateway.prepare(Settings.of(json.loads(settings)))
        except StartError as error:
            refusal = error.detail
        self._channel.send(ReloadOutcome(refusal))

    async def finish(self, *, commits: bool) -> None:
        """Put in force what is prepared, or abandon it."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        if commits:
            self._gateway.commit(prepared)
        else:
            await prepared.abandon()


async def _listen(channel: Channel, gateway: Gateway, stop: asyncio.Event) -> None:
    reload = WorkerReload(channel, gateway)
    answering: set[asyncio.Task[None]] = set()  # as many as questions that the supervisor waits for
    try:
        while (message := await channel.receive()) is not None:
            gateway.catch_up()  # at any message: behind one that waits, no CatchUp is sent
            if isinstance(message, ReportStatus):
                channel.send(WorkerReport(await gateway.health(), gateway.numbers()))
            elif isinstance(message, WorkerQuestion):
                task = asyncio.create_task(_answer(channel, gateway, message))
                answering.add(task)
                task.add_done_callback(answering.discard)
            elif isinstance(message, PrepareReload):
                await reload.prepare(message.settings)
            elif isinstance(message, FinishReload):
                await reload.finish(commits=message.commits)
            elif isinstance(message, StopMessage):
                stop.set()
        log.warning("worker.supervisor_gone")
    finally:
        stop.set()


async def _answer(channel: Channel, gateway: Gateway, question: WorkerQuestion) -> None:
    try:
        for answer in await gateway.query(question.question):
            channel.send(WorkerAnswer(question.number, answer))
    except Exception:  # noqa: BLE001 - who asked goes on without this answer
        log.exception("worker.question_failed")
