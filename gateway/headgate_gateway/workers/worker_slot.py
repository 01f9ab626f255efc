"""A worker slot: the supervisor's record of one worker, which is replaced when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

from headgate.shielding import shielded
from headgate_gateway.background import keep_running
from headgate_gateway.errors import StartError
from headgate_gateway.features.questions.contract import Answer
from headgate_gateway.features.questions.process_source import ProcessReport, Restarts
from headgate_gateway.settings.reading.given import ENVIRONMENT_PREFIX
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.health import STARTING, Cause, Facts, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.workers.channel import (
    ABANDON,
    COMMIT,
    LOOK,
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
    from asyncio.subprocess import Process
    from collections.abc import Callable, Iterator

    from headgate_gateway.features.questions.contract import Question
    from headgate_gateway.telemetry.metrics import Snapshot
    from headgate_gateway.workers.channel import Reply


QUESTION_S = 10.0  # for an answer that may have to be read from the log
RELOAD_S = 30.0  # to open logs and to read files, on a busy machine
REPORT_S = 0.8  # for a report on the worker's health: probes often wait for a second


class WorkerCalls:
    """The requests to one worker process that wait for its replies."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.missed = 0  # reports in a row that did not come in time
        self._report: asyncio.Future[Reply | None] | None = None
        self._waiting: dict[int, asyncio.Future[Reply | None]] = {}
        self._numbered = count(1)

    async def request(self, body: PrepareReload | Question, within_s: float) -> Reply | None:
        """Return the worker's reply; None without one in time, or if the worker ends before."""
        number, reply = self._send(body)
        try:
            async with asyncio.timeout(within_s):
                return await reply
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(number, None)

    async def report(self) -> WorkerReport | None:
        """Return the worker's report, shared by simultaneous callers; None without one in time."""
        if self._report is None or self._report.done():
            _, self._report = self._send(ReportStatus())
        try:
            async with asyncio.timeout(REPORT_S):
                report = await shielded(self._report)
        except TimeoutError:
            return None
        return report if isinstance(report, WorkerReport) else None

    def _send(
        self, body: ReportStatus | PrepareReload | Question
    ) -> tuple[int, asyncio.Future[Reply | None]]:
        number = next(self._numbered)
        self._waiting[number] = reply = asyncio.get_running_loop().create_future()
        self.channel.send(WorkerRequest(number, body))
        return number, reply

    def settle(self, number: int, reply: Reply | None) -> None:
        """Hand a reply to its caller, unless that has given up."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def close(self) -> None:
        """Close the channel, and reply None to all callers, because the worker has ended."""
        await self.channel.close()
        for number in list(self._waiting):
            self.settle(number, None)


COMMAND = (sys.executable, "-P", "-m", "headgate_gateway.workers")
ASK_EVERY_S = 1.0
# Half a minute without an answer. A loop that turns answers within milliseconds; but a machine that
# swaps, or a debugger, holds one up for many seconds, and to end it costs its readers theirs.
MOST_MISSED = 17
SILENT = Cause("silent")
LAST_S = 5.0  # for a worker to exit after it has said its last
# Longer than most probes and looks are apart; later, the console has it among what is over.
REPLACED_S = 60.0


class WorkerSlot:
    """`cause` says why its worker does not serve. `started` is set once one has.

    `restarts` counts the workers that were put in place of another one, and says how and when that
    one ended. `hangs` counts those of them that had hung.
    """

    def __init__(
        self,
        number: int,
        start_message: StartMessage,
        on_journal_written: Callable[[WorkerSlot], None],
        on_change: Callable[[], None],
    ) -> None:
        """Send each worker `start_message` first; call `on_journal_written` after its writes.

        Call `on_change` when a worker has ended, and when the next one serves.

        A worker that started amid a reload would have the former settings, and not learn of the new
        ones: it gets the message after the reload.
        """
        self._on_journal_written = on_journal_written
        self._on_change = on_change
        self.number = number
        self.cause: Cause | None = Cause(STARTING)
        self.started = asyncio.Event()
        self.restarts = Restarts()
        self.hangs = 0
        self._start_message = start_message
        self._is_settled = asyncio.Event()  # no reload is under way
        self._is_settled.set()
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._calls: WorkerCalls | None = None  # of the present worker
        self._hung: str | None = None  # how it was seen that the worker hangs
        self._refusal: str | None = None
        self._numbers: Snapshot = ()  # of the worker's last report
        self._past: Snapshot = ()  # the counters of the workers before it, as far as reported

    async def run(self) -> None:
        """Keep a worker running until `stop`. Raises StartError when the first cannot start."""
        await keep_running(self._run_worker, self._note_end, self._stopping)
        self.cause = Cause("stopped")

    def _note_end(self, ended: str, pause_s: float) -> None:
        if self._refusal is not None and not self.started.is_set():
            raise StartError(self._refusal)
        now = asyncio.get_running_loop().time()
        self.restarts = Restarts(self.restarts.total + 1, ended, now)
        self.cause = Cause("ended", {"reason": ended})
        log.error("worker.ended", worker=self.number, reason=ended, pause_s=pause_s)
        self._on_change()

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
                pass_fds=self._start_message.descriptors,  # which no reload changes
                start_new_session=True,
                env=_environment(),
            )
        except OSError as error:
            ours.close()
            return f"could not be started: {error.strerror}"
        finally:
            theirs.close()
        channel = await Channel.over(ours)
        await self._is_settled.wait()
        self._calls = calls = WorkerCalls(channel)
        channel.send(self._start_message)
        if self._stopping.is_set():
            channel.send(STOP)
        asking = asyncio.create_task(self._keep_asking(calls))
        try:
            await self._listen(calls)
        finally:
            asking.cancel()
        return await self._ended(self._process, calls)

    async def _keep_asking(self, calls: WorkerCalls) -> None:
        """Request reports again and again, and kill a worker that serves and sends none any more.

        A killed worker takes with it what it counted since its last report. Missed reports count,
        and not time: when this process was frozen, too, one was missed.
        """
        await self.started.wait()
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            if await calls.report() is None and self.cause is None:
                calls.missed += 1
            if calls.missed >= MOST_MISSED and not self._stopping.is_set():
                self._end_hung(f"did not answer {calls.missed} times in a row")

    async def _listen(self, calls: WorkerCalls) -> None:
        while (message := await calls.channel.receive()) is not None:
            if message == READY:
                self.cause = None
                self.started.set()
                since = f"{datetime.now(UTC):%H:%M:%S} UTC"  # noqa: TID251 - for people
                self.restarts = self.restarts._replace(serves_since=since)
                self._on_change()
            elif isinstance(message, StartFailureMessage):
                self._refusal = message.sentence
            elif message == WRITTEN:
                self._on_journal_written(self)
            elif isinstance(message, WorkerReply):
                if isinstance(message.body, WorkerReport):
                    calls.missed = 0
                    self._numbers = message.body.numbers
                calls.settle(message.number, message.body)

    async def _ended(self, process: Process, calls: WorkerCalls) -> str:
        self._calls = None
        await calls.close()
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
            why = self._refusal.replace(".\n", "; ")
            return f"could not start: {why}"
        if self._hung is not None:
            return f"{self._hung}, and was killed"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def prepare_reload(self, start_message: StartMessage) -> str | None:
        """Return why the worker cannot be reloaded, or None if it can, or if there is none now."""
        self._is_settled.clear()
        if (calls := self._calls) is None:
            return None
        outcome = await calls.request(PrepareReload(start_message.settings), RELOAD_S)
        if isinstance(outcome, ReloadOutcome):
            return outcome.refusal
        if self._calls is not calls:  # the next worker begins with the settings that are in force
            return None
        return f"a worker has prepared nothing within {RELOAD_S:g} s"

    def finish_reload(self, start_message: StartMessage | None) -> None:
        """Put a prepared reload in force, also for later workers; with None, abandon it."""
        self._start_message = start_message or self._start_message
        self._is_settled.set()
        if self._calls is not None:
            self._calls.channel.send(ABANDON if start_message is None else COMMIT)

    def wake(self) -> None:
        """Have the worker look at the journals, as it does at each message."""
        if self._calls is not None and not self._calls.channel.unsent:
            self._calls.channel.send(LOOK)

    def stop(self) -> None:
        """Let the worker drain and end, and have no other one."""
        self._stopping.set()
        if self._calls is not None:
            self._calls.channel.send(STOP)

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

    # Reports

    def notes(self) -> Iterator[HealthNote]:
        """Yield for a minute how the worker before the present one ended, which serves now."""
        last, now = self.restarts, asyncio.get_running_loop().time()
        if self.cause is None and last.last_end and now - (last.last_ended_at or 0) <= REPLACED_S:
            facts: Facts = {"reason": last.last_end, "since": last.serves_since}
            yield HealthNote("worker", str(self.number), Cause("replaced", facts))

    async def report(self) -> WorkerReport | None:
        """Return the worker's report; None without one in time."""
        return None if self._calls is None else await self._calls.report()

    def process(self, report: WorkerReport | None) -> ProcessReport:
        """Return the worker that is in this slot now, which has sent this report."""
        numbers = None if report is None else report.numbers
        pid = None if self._process is None else self._process.pid
        cause = self.cause or (SILENT if report is None else None)
        return ProcessReport(f"worker {self.number}", pid, cause, self.restarts, numbers)

    async def query(self, question: Question) -> Answer | None:
        """Return the worker's answer, or None without one in time."""
        reply = None if self._calls is None else await self._calls.request(question, QUESTION_S)
        return reply if isinstance(reply, Answer) else None

    def numbers(self, report: WorkerReport | None) -> Snapshot:
        """Return this slot's metrics: a counter goes on where the worker before it ended."""
        numbers = metrics.counters(self._numbers) if report is None else report.numbers
        return metrics.together([self._past, numbers])


def _environment() -> dict[str, str]:
    """Return our environment without the settings, which come by the channel."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
