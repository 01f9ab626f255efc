"""A worker slot: the supervisor's record of one worker, which is replaced when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from itertools import count
from typing import TYPE_CHECKING

from headgate.backoff import Backoff

from gateway.errors import StartError
from gateway.features.console.contract import STARTING, ProcessReport, Restarts
from gateway.settings.setting_descriptions import ENVIRONMENT_PREFIX
from gateway.telemetry import metrics
from gateway.telemetry.logs import log
from gateway.workers.channel import (
    Channel,
    FinishReload,
    JournalWrittenMessage,
    PeerJournalMessage,
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
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from gateway.features.questions.contract import Answer, Question
    from gateway.telemetry.metrics import Snapshot


QUESTION_S = 10.0  # for an answer that may have to be read from the log
RELOAD_S = 30.0  # to open logs and to read files, on a busy machine
REPORT_S = 0.8  # for a report on the worker's health: probes often wait for a second


class PendingAnswers:
    """The report and the answers that callers wait for from one worker."""

    def __init__(self) -> None:
        self._report: asyncio.Future[WorkerReport | None] | None = None
        self._answers: dict[int, asyncio.Future[Answer | None]] = {}
        self._numbered = count(1)
        self._reload: asyncio.Future[str | None] | None = None

    async def request_report(self, channel: Channel) -> WorkerReport | None:
        """Return the worker's report, shared by simultaneous callers; None without one in time."""
        if self._report is None:
            self._report = asyncio.get_running_loop().create_future()
            channel.send(ReportStatus())
        try:
            async with asyncio.timeout(REPORT_S):
                return await asyncio.shield(self._report)
        except TimeoutError:
            return None

    async def query(self, channel: Channel, question: Question) -> Answer | None:
        """Return the worker's answer, or None without one in time."""
        number = next(self._numbered)
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        channel.send(WorkerQuestion(number, question))
        try:
            async with asyncio.timeout(QUESTION_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._answers.pop(number, None)

    async def prepare_reload(self, channel: Channel, settings: str) -> str | None:
        """Return why the worker cannot be reloaded with these settings, or None if it can."""
        self._reload = asyncio.get_running_loop().create_future()
        channel.send(PrepareReload(settings))
        try:
            async with asyncio.timeout(RELOAD_S):
                return await self._reload
        except TimeoutError:
            return f"a worker has prepared nothing within {RELOAD_S:g} s"

    def reload_prepared(self, refusal: str | None) -> None:
        """Set the outcome of a reload's preparation, unless its caller has given up."""
        if self._reload is not None and not self._reload.done():
            self._reload.set_result(refusal)

    def answer(self, number: int, answer: Answer | None) -> None:
        """Set the answer to a question, unless its caller has given up."""
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def report(self, report: WorkerReport | None) -> None:
        """Set the report that callers wait for."""
        if self._report is not None:
            self._report.set_result(report)
            self._report = None

    def close(self) -> None:
        """Answer all callers with None, because the worker has ended."""
        self.report(None)
        self.reload_prepared(None)  # the next worker begins with the settings that are in force
        for number in list(self._answers):
            self.answer(number, None)


COMMAND = (sys.executable, "-P", "-m", "gateway.workers")
ASK_EVERY_S = 1.0
# Half a minute without an answer. A loop that turns answers within milliseconds; but a machine that
# swaps, or a debugger, holds one up for many seconds, and to end it costs its readers theirs.
MOST_MISSED = 17
STEADY_S = 10.0  # a worker that lived so long is replaced at once
FIRST_PAUSE_S = 0.25  # before the next one, doubled as long as they die young
LONGEST_PAUSE_S = 15.0
LAST_S = 5.0  # for a worker to exit after it has said its last


class NextStartMessage:
    """The first message to each worker of a slot, which is held back amid a reload.

    A worker that started amid one would have the former settings, and not hear of the new ones.
    """

    def __init__(self, message: StartMessage) -> None:
        self.descriptors = message.descriptors  # which no reload changes
        self._message = message
        self._is_settled = asyncio.Event()
        self._is_settled.set()

    async def message(self) -> StartMessage:
        """Return the message once no reload is under way."""
        await self._is_settled.wait()
        return self._message

    def hold(self) -> None:
        """Let workers wait: a reload is under way."""
        self._is_settled.clear()

    def release(self, message: StartMessage | None) -> None:
        """Let workers start, after a reload with its message; None means that it was refused."""
        self._message = message or self._message
        self._is_settled.set()


class WorkerSlot:
    """`why_unhealthy` says why its worker does not serve. `started` is set once one has.

    `restarts` counts the workers that were put in place of another one, and says how and when that
    one ended. `hangs` counts those of them that had hung.
    """

    def __init__(
        self,
        number: int,
        start_message: StartMessage,
        on_journal_written: Callable[[WorkerSlot], None],
    ) -> None:
        """Send each worker `start_message` first; call `on_journal_written` after its writes."""
        self._on_journal_written = on_journal_written
        self.number = number
        self.why_unhealthy: str | None = STARTING
        self.started = asyncio.Event()
        self.restarts = Restarts()
        self.hangs = 0
        self._start = NextStartMessage(start_message)
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._pending = PendingAnswers()
        self._missed = 0  # how often in a row the worker did not tell in time how it is
        self._hung: str | None = None  # how it was seen that the worker hangs
        self._refusal: str | None = None
        self._numbers: Snapshot = ()  # what the worker told last
        self._past: Snapshot = ()  # what those before it had counted, as far as they told

    async def run(self) -> None:
        """Have a worker here until told to stop. Raises StartError when the first cannot start."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not self._stopping.is_set():
            began = loop.time()
            ended = await self._run_worker()
            if self._stopping.is_set():
                break
            if self._refusal is not None and not self.started.is_set():
                raise StartError(self._refusal)
            if loop.time() - began >= STEADY_S:
                backoff.reset()
                pause = 0.0
            else:
                pause = backoff.next_s()
            self.restarts = Restarts(self.restarts.total + 1, ended, loop.time())
            self.why_unhealthy = f"{ended}, starting again"
            log.error("worker.ended", worker=self.number, reason=ended, pause_s=pause)
            await self._pause(pause)
        self.why_unhealthy = "stopped"

    async def _pause(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _run_worker(self) -> str:
        """Start a worker, and stay until it has ended; return how it ended."""
        self._refusal = self._hung = None
        ours, theirs = socket.socketpair()
        try:
            # A session of its own keeps the keys of a terminal to the supervisor.
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                str(self.number),
                stdin=theirs.fileno(),
                pass_fds=self._start.descriptors,
                start_new_session=True,
                env=_environment(),
            )
        except OSError as error:
            ours.close()
            return f"cannot be started: {error.strerror}"
        finally:
            theirs.close()
        channel = await Channel.over(ours)
        message = await self._start.message()
        self._channel = channel
        self._channel.send(message)
        if self._stopping.is_set():
            self._channel.send(StopMessage())
        asking = asyncio.create_task(self._keep_asking())
        try:
            await self._listen(self._channel)
        finally:
            asking.cancel()
        return await self._ended(self._process, self._channel)

    async def _keep_asking(self) -> None:
        """Request reports again and again, and kill a worker that serves and sends none any more.

        A killed worker takes with it what it counted since its last report. Missed reports count,
        and not time: when this process was frozen, too, one was missed.
        """
        await self.started.wait()
        self._missed = 0
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if await self.report() is None and self.why_unhealthy is None:
                self._missed += 1
            if self._missed >= MOST_MISSED and not self._stopping.is_set():
                self._end_hung(f"did not answer {self._missed} times in a row")

    async def _listen(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            if isinstance(message, ReadyMessage):
                self.why_unhealthy = None
                self.started.set()
            elif isinstance(message, StartFailureMessage):
                self._refusal = message.sentence
            elif isinstance(message, JournalWrittenMessage):
                self._on_journal_written(self)
            elif isinstance(message, ReloadOutcome):
                self._pending.reload_prepared(message.refusal)
            elif isinstance(message, WorkerAnswer):
                self._pending.answer(message.number, message.answer)
            elif isinstance(message, WorkerReport):
                self._missed = 0
                self._numbers = message.numbers
                self._pending.report(message)

    async def _ended(self, process: Process, channel: Channel) -> str:
        self._channel = None
        await channel.close()
        self._pending.close()
        self._past = metrics.together([self._past, metrics.counters(self._numbers)])
        self._numbers = ()
        try:
            async with asyncio.timeout(LAST_S):
                status = await process.wait()
        except TimeoutError:
            self.kill()
            status = await process.wait()
        self._process = None
        if self._refusal is not None:
            return self._refusal.replace(".\n", "; ")
        if self._hung is not None:
            return f"{self._hung}, and was killed"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def prepare_reload(self, start_message: StartMessage) -> str | None:
        """Return why the worker cannot be reloaded, or None if it can, or if there is none now."""
        self._start.hold()
        if self._channel is None:
            return None
        return await self._pending.prepare_reload(self._channel, start_message.settings)

    def finish_reload(self, start_message: StartMessage | None) -> None:
        """Put a prepared reload in force, also for later workers; with None, abandon it."""
        self._start.release(start_message)
        if self._channel is not None:
            self._channel.send(FinishReload(commits=start_message is not None))

    def wake(self) -> None:
        """Have the worker look at the journals, as it does at each message."""
        if self._channel is not None and not self._channel.unsent:
            self._channel.send(PeerJournalMessage())

    def stop(self) -> None:
        """Let the worker drain and end, and have no other one."""
        self._stopping.set()
        if self._channel is not None:
            self._channel.send(StopMessage())

    def _end_hung(self, how: str) -> None:
        if self._hung is None:
            log.error("worker.hangs", worker=self.number, reason=how)
            self._hung = how
            self.hangs += 1
            self.kill()

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    # What it tells

    async def report(self) -> WorkerReport | None:
        """Return the worker's report, shared by simultaneous callers; None without one in time."""
        return None if self._channel is None else await self._pending.request_report(self._channel)

    def process(self, report: WorkerReport | None) -> ProcessReport:
        """Return the worker that is in this slot now, which has sent this report."""
        numbers = None if report is None else report.numbers
        pid = None if self._process is None else self._process.pid
        problem = self.why_unhealthy or ("does not answer" if report is None else None)
        return ProcessReport(f"worker {self.number}", pid, problem, self.restarts, numbers)

    async def query(self, question: Question) -> Answer | None:
        """Return the worker's answer, or None without one in time."""
        return None if self._channel is None else await self._pending.query(self._channel, question)

    def numbers(self, report: WorkerReport | None) -> Snapshot:
        """Return this slot's metrics: a counter goes on where the worker before it ended."""
        numbers = metrics.counters(self._numbers) if report is None else report.numbers
        return metrics.together([self._past, numbers])


def _environment() -> dict[str, str]:
    """Return our environment without the settings, which come by the channel."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
