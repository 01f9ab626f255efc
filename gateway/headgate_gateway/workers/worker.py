"""A worker among several: the process, `python -m headgate_gateway.workers NUMBER`.

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

from headgate_gateway.errors import StartError
from headgate_gateway.process import serve
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.process.inherited_sockets import InheritedSockets
from headgate_gateway.runtime.write_journal import WriteJournal
from headgate_gateway.settings.added import of_plain
from headgate_gateway.telemetry.logs import add_fields, log
from headgate_gateway.workers.channel import (
    ABANDON,
    COMMIT,
    READY,
    STOP,
    WRITTEN,
    Channel,
    PrepareReload,
    ReloadOutcome,
    ReportStatus,
    StartFailureMessage,
    StartMessage,
    WorkerReply,
    WorkerReport,
    WorkerRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.features.questions.contract import Question
    from headgate_gateway.process.reconfiguration import Reload

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
    settings = of_plain(json.loads(first.settings))
    serve.prepare(settings)
    wake_others = _once_a_turn(lambda: channel.send(WRITTEN))
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
    # The supervisor decides on an end at once, and kills.
    serve.on_stop_signals(stop.set)
    listening = asyncio.create_task(_listen(channel, gateway, stop))
    try:
        if await serve.is_started(gateway, stop):
            log.info("worker.started", pid=os.getpid())
            channel.send(READY)
            await stop.wait()
    finally:
        await gateway.stop()
        listening.cancel()


class SupervisedGateway:
    """The gateway of a worker, as its supervisor reloads and asks it.

    A reload has two steps, so that all workers change together or none does.
    """

    def __init__(self, channel: Channel, gateway: Gateway) -> None:
        self._channel = channel
        self._gateway = gateway
        self._prepared: Reload | None = None
        self._answering: set[asyncio.Task[None]] = set()  # as many as the supervisor waits for

    async def reply(self, number: int, body: ReportStatus | PrepareReload | Question) -> None:
        """Reply to a request; a task answers a question, for which a log may have to be read."""
        if isinstance(body, ReportStatus):
            report = WorkerReport(await self._gateway.health(), self._gateway.numbers())
            self._channel.send(WorkerReply(number, report))
        elif isinstance(body, PrepareReload):
            self._channel.send(WorkerReply(number, await self._prepare(body.settings)))
        else:
            task = asyncio.create_task(self._answer(number, body))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _prepare(self, settings: str) -> ReloadOutcome:
        await self.finish_reload(commits=False)  # one that the supervisor has given up
        try:
            self._prepared = await self._gateway.prepare(of_plain(json.loads(settings)))
        except StartError as error:
            return ReloadOutcome(error.detail)
        return ReloadOutcome(None)

    async def finish_reload(self, *, commits: bool) -> None:
        """Put in force what is prepared, or abandon it."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        if commits:
            self._gateway.commit(prepared)
        else:
            await prepared.abandon()

    async def _answer(self, number: int, question: Question) -> None:
        try:
            for answer in await self._gateway.query(question):
                self._channel.send(WorkerReply(number, answer))
        except Exception:  # noqa: BLE001 - the supervisor goes on without this answer
            log.exception("worker.question_failed")


async def _listen(channel: Channel, gateway: Gateway, stop: asyncio.Event) -> None:
    supervised = SupervisedGateway(channel, gateway)
    try:
        while (message := await channel.receive()) is not None:
            gateway.catch_up()  # at any message: none about a journal follows one that waits
            if isinstance(message, WorkerRequest):
                await supervised.reply(message.number, message.body)
            elif message in {COMMIT, ABANDON}:
                await supervised.finish_reload(commits=message == COMMIT)
            elif message == STOP:
                stop.set()
        log.warning("worker.supervisor_gone")
    finally:
        stop.set()
