"""A task after the start that ends the answers which an earlier process left unfinished."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.background import Background
from gateway.errors import HeadgateError, RecordDamaged
from gateway.models.record import record_name
from gateway.telemetry.inspection import LARGEST_PAGE, ListStreams
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.models.answers import ModelAnswers

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
                page = await streams.route.list_streams(question)
                for row in page.rows:
                    if row.name.endswith(_SUFFIX) and not row.closed:
                        ended += await self._finish(row.name.removeprefix(folder))
                after = page.after
        except HeadgateError as error:
            log.warning("answers.not_ended", route=streams.route.prefix, reason=error.detail)
        if ended:
            log.warning("answers.ended", route=streams.route.prefix, count=ended)
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look_at_left()

    async def _look_at_left(self) -> None:
        left = self._answers.left
        for name in list(left.names):
            try:
                await self._answers.finish_abandoned(name)
            except HeadgateError:
                left.names.add(name)  # the next look tries again

    async def _finish(self, record: str) -> bool:
        """End the last answer of a record; return whether it was not over."""
        try:
            return await self._answers.finish_abandoned(record.removesuffix(_SUFFIX))
        except RecordDamaged:
            return False  # somebody else's stream, whose name ends like those of records
