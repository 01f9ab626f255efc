"""A task after the start that ends the answers which an earlier process left unfinished."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.background import Background
from gateway.errors import HeadgateError, RecordDamaged
from gateway.features.console.inspected_streams import streams_of
from gateway.features.models.record import record_name
from gateway.features.questions.streams import LARGEST_PAGE, ListStreams
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.features.models.answers import ModelAnswers

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
