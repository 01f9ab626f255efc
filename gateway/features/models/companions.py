"""The streams beside an answer: its record and its prompts live as long as it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import HeadgateError, RecordDamaged
from gateway.features.models.record import BESIDE
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.features.models.answers import ModelAnswers
    from gateway.features.models.running import RunningAnswers
    from gateway.streams.stream_table import Remover


class CompanionStreams:
    """The care for the streams beside the answers of one route.

    They are deleted with the answer, and a read of the answer restarts their countdown, too.
    """

    def __init__(self, answers: ModelAnswers, running: RunningAnswers) -> None:
        self._answers = answers
        self._streams = answers.streams
        self._running = running
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Start to observe the streams of the route."""
        route = self._streams.route
        route.table.removal_observers.append(self._on_removal)
        route.table.deadlines.observers.append(self._on_renewal)

    async def close(self) -> None:
        """Stop to observe, and cancel what is under way."""
        route = self._streams.route
        route.table.removal_observers.remove(self._on_removal)
        route.table.deadlines.observers.remove(self._on_renewal)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_removal(self, path: str, stream_id: int, remover: Remover) -> None:
        """Stop the answer whose stream is gone; the gateway that deleted it deletes the rest."""
        name = self._answer_at(path)
        if name is None or remover == "successor":
            return
        self._running.stop(self._streams.path(name), stream_id)
        # An answer under way deletes what is beside it when it ends.
        if remover == "here" and self._streams.path(name) not in self._running.answers:
            self._start(self._delete_beside(name))

    def _on_renewal(self, path: str) -> None:
        name = self._answer_at(path)
        if name is not None:
            self._start(self._touch_beside(name))

    def _answer_at(self, path: str) -> str | None:
        """Return the name of the answers' stream at a path; None for others."""
        name = self._streams.name_at(path)
        return None if name is None or name.endswith(BESIDE) else name

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _delete_beside(self, name: str) -> None:
        """Delete what is beside an answer that is gone."""
        try:
            await self._answers.finish_abandoned(name)
        except RecordDamaged:
            return  # somebody else's stream, whose name ends like those of records
        except HeadgateError as error:
            path = self._streams.path(name)
            log.warning("answer.record_not_deleted", stream=path, reason=error.detail)

    async def _touch_beside(self, name: str) -> None:
        try:
            for suffix in BESIDE:
                await self._streams.touch(f"{name}{suffix}")
        except HeadgateError as error:
            path = self._streams.path(name)
            log.warning("answer.record_not_renewed", stream=path, reason=error.detail)
