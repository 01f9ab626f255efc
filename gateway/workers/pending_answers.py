"""Wait for a worker's reports, and for its answers to questions."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from gateway.workers.channel import PrepareReload, ReportStatus, WorkerQuestion

if TYPE_CHECKING:
    from gateway.telemetry.inspection import Answer, Question
    from gateway.workers.channel import Channel, WorkerReport

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
