"""The upkeep of a route's answers: abandoned ones are ended, and streams beside them live on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.background import Background
from gateway.errors import HeadgateError, RecordDamaged
from gateway.features.console.inspected_streams import streams_of
from gateway.features.models.record import BESIDE, record_name
from gateway.features.questions.streams import LARGEST_PAGE, ListStreams
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.features.models.answers import ModelAnswers
    from gateway.features.models.running import RunningAnswers
    from gateway.streams.stream_table import Remover

LOOK_S = 5.0  # between looks at answers that wait for the rest from their provider
_SUFFIX = record_name("")


class AbandonedAnswers(Background):
    """A pass over the records of a route's answers, which ends those that are not closed."""

    def __init__(self, answers: ModelAnswers) -> None:
        self._answers = answers

    @override
    async def _run(self) -> None:
        streams = self._answers.streams
        folder = f"{streams.folder}/" if streams.folder else ""
        after: str | None = ""
        ended = 0
        try:
            while after is not None:
                question = ListStreams(
                    streams.route.prefix, folder, after=after, limit=LARGEST_PAGE
                )
                page = await streams_of(streams.route).page(question)
                for row in page.rows:
                    if row.name.endswith(_SUFFIX) and not row.closed:
                        name = row.name.removeprefix(folder).removesuffix(_SUFFIX)
                        ended += await self._finish(name)
                after = page.after
        except HeadgateError as error:
            log.warning("answers.not_ended", route=streams.route.prefix, reason=error.detail)
        if ended:
            log.warning("answers.ended", route=streams.route.prefix, count=ended)
        while True:
            await asyncio.sleep(LOOK_S)
            for name in list(self._answers.left.names):
                await self._finish(name)

    async def _finish(self, name: str) -> bool:
        """End the last answer in a stream; return whether it was not over.

        The next look tries again if that fails.
        """
        try:
            return await self._answers.finish_abandoned(name)
        except RecordDamaged:
            return False  # somebody else's stream, whose name ends like those of records
        except HeadgateError:
            pass
        except Exception:  # noqa: BLE001 - other answers wait for this
            log.exception("answers.not_ended", stream=self._answers.streams.path(name))
        self._answers.left.names.add(name)
        return False


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
