"""The upkeep of a route's completions: the abandoned ones end, streams beside them live on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import HeadgateError, RecordDamaged
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.models.record import RECORD, record_name
from headgate_gateway.features.questions.streams import LARGEST_PAGE, ListStreams
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headgate_gateway.features.models.completion import RunningCompletions
    from headgate_gateway.features.models.completions import ModelCompletions
    from headgate_gateway.streams.stream_table import Remover

LOOK_S = 5.0  # between looks at completions without an end


class CompletionUpkeep(Background):
    """The care for the completions of one route, beside their requests.

    After the start it ends those that an earlier process left. The record beside a completion
    is deleted with it, and a read of the completion restarts its countdown, too.
    """

    def __init__(self, completions: ModelCompletions, running: RunningCompletions) -> None:
        self._completions = completions
        self._streams = completions.streams
        self._running = running
        self._tasks: set[asyncio.Task[object]] = set()

    @override
    def start(self) -> None:
        table = self._streams.route.table
        table.removal_observers.append(self._on_removal)
        table.deadlines.observers.append(self._on_renewal)
        super().start()

    @override
    async def stop(self) -> None:
        """Stop to look and to observe, and cancel what is under way."""
        await super().stop()
        table = self._streams.route.table
        table.removal_observers.remove(self._on_removal)
        table.deadlines.observers.remove(self._on_renewal)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @override
    async def _run(self) -> None:
        streams = self._streams
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
                    if row.name.endswith(RECORD) and not row.closed:
                        name = row.name.removeprefix(folder).removesuffix(RECORD)
                        ended += await self._finish(name)
                after = page.after
        except HeadgateError as error:
            log.warning("answers.not_ended", route=streams.route.prefix, reason=error.detail)
        if ended:
            log.warning("answers.ended", route=streams.route.prefix, count=ended)
        while True:
            await asyncio.sleep(LOOK_S)
            for name in list(self._completions.stored.unended):
                await self._finish(name)

    async def _finish(self, name: str) -> bool:
        """End the last completion in a stream, or delete what is beside one that is gone.

        Return whether it was not over. The next look tries again if that fails.
        """
        try:
            return await self._completions.finish_abandoned(name)
        except RecordDamaged:
            return False  # somebody else's stream, whose name ends like those of records
        except HeadgateError:
            pass
        except Exception:  # noqa: BLE001 - other completions wait for this
            log.exception("answers.not_ended", stream=self._streams.path(name))
        self._completions.stored.unended.add(name)
        return False

    def _on_removal(self, path: str, stream_id: int, remover: Remover) -> None:
        """Stop the completion of a deleted stream; the gateway that deleted it deletes the rest."""
        name = self._name_at(path)
        if name is None or remover == "successor":
            return
        running = self._running.at.get(self._streams.path(name))
        if running is not None:  # a completion under way deletes what is beside it when it ends
            running.stop_deleted(stream_id)
        elif remover == "here":
            self._spawn(self._finish(name))

    def _on_renewal(self, path: str) -> None:
        name = self._name_at(path)
        if name is not None:
            self._spawn(self._touch_record(name))

    def _name_at(self, path: str) -> str | None:
        """Return the name of the completions' stream at a path; None for others."""
        name = self._streams.name_at(path)
        return None if name is None or name.endswith(RECORD) else name

    def _spawn(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _touch_record(self, name: str) -> None:
        try:
            await self._streams.touch(record_name(name))
        except HeadgateError as error:
            path = self._streams.path(name)
            log.warning("answer.record_not_renewed", stream=path, reason=error.detail)
