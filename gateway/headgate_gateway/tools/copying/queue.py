"""Copy all streams of a place to a log, several at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headgate.errors import NotAuthorized, ProtocolError, StreamError, Unavailable
from headgate_gateway.errors import (
    HeadgateError,
    LogFull,
    LogUnavailable,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.tools.copying.contract import Description, StreamRefused, check_alike
from headgate_gateway.tools.copying.log_place import LogPlace
from headgate_gateway.tools.shell.amounts import byte_size, counted
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import note
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.tools.copying.server_place import ServerPlace

# Streams that are copied at once, each with two pages in memory: some MiB altogether. That hides
# the round trips to a distant server, and lets a log commit several streams together.
AT_ONCE = 8
MOST_SAID = 100  # streams that could not be copied and are named; more are counted
# Attempts at one stream in a row, while a gateway changes the source or the copy.
MAX_LOST_RACES = 20


class CopyQueue:
    """The copy of a place to a log, which continues where an earlier one ended."""

    def __init__(self, source: LogPlace | ServerPlace, target: LogPlace) -> None:
        self._source = source
        self._target = target
        self._progress = Progress()
        self.streams = self.changed = self.gone = self.refused = self.bytes = 0

    async def run(self, paths: AsyncIterator[str]) -> None:
        """Copy each of these streams. The first failure of a place ends it."""
        turn = asyncio.Lock()
        workers = [asyncio.create_task(self._work(paths, turn)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:
            self._progress.clear()
            note(f"Interrupted: {self._so_far()}; the same command goes on.")
            raise
        except (*FAILURES, HeadgateError) as failure:
            raise self._ended_by(failure) from failure
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._progress.clear()

    def _under_way(self) -> str:
        """Return how much is copied, as short as a line of progress."""
        streams = counted(self.streams, "stream")
        return f"{byte_size(self.bytes)} appended; {streams} copied or compared"

    def _so_far(self) -> str:
        """Return how much is copied, in words."""
        streams = counted(self.streams, "stream")
        return f"{streams} copied or compared, {counted(self.bytes, 'byte')} appended"

    async def _work(self, paths: AsyncIterator[str], turn: asyncio.Lock) -> None:
        while True:
            async with turn:
                path = await anext(paths, None)
            if path is None:
                return
            await self._copy_or_refuse(path)
            self._progress.show(self._under_way)

    async def _copy_or_refuse(self, path: str) -> None:
        """Copy a stream; if that is refused, the others go on."""
        try:
            await self._copy(path)
        except StreamRefused as refusal:
            self._refuse(path, str(refusal))
        except HeadgateError as failure:
            if isinstance(failure, LogUnavailable | LogFull):
                raise
            self._refuse(path, failure.detail)
        except (NotAuthorized, ProtocolError, Unavailable):
            raise
        except StreamError as refusal:
            self._refuse(path, str(refusal))

    async def _copy(self, path: str) -> None:
        """Copy what is missing of a stream, after what the destination has.

        Every commit expects the version of the copy that was read, so that nothing is stored twice.
        Raises StreamRefused.
        """
        is_changed = False
        for _ in range(MAX_LOST_RACES):
            try:
                stream = await self._source.stream(path)
                if stream is None:
                    self.gone += 1
                    break
                copy = await self._target.load(path)
                if (found := copy.path_state.state) is not None:
                    check_alike(Description.of(found), stream.description)
                async with aclosing(stream.changes(self._target, copy)) as changes:
                    async for change in changes:
                        await self._target.log.commit((change,))
                        is_changed = True
                        self.bytes += sum(len(record.data) for record in change.records)
                        self._progress.show(self._under_way)
            except (Conflict, StreamGone, StreamNotFound):  # or retention has removed records
                continue
            self.changed += is_changed
            break
        else:
            raise StreamRefused("it, or its copy, is changed all the time")
        self.streams += 1

    def _refuse(self, path: str, why: str) -> None:
        """Say why a stream is not copied, and count it."""
        self.refused += 1
        self._progress.clear()
        if self.refused <= MOST_SAID:
            note(f"headgate: {unquote(path)}: {why}.")
        elif self.refused == MOST_SAID + 1:
            note("headgate: more streams cannot be copied: they are counted only.")

    def _ended_by(self, failure: Exception) -> Failed | Unavailable:
        """Return the error that ends the command, with what was done before this failure.

        Where a log has failed, it is named.
        """
        if not isinstance(failure, LogUnavailable):
            return Failed(f"{failure}; {self._so_far()}")
        logs = (place for place in (self._source, self._target) if isinstance(place, LogPlace))
        failed = next((f"{it.shown}: " for it in logs if it.log.why_unhealthy() is not None), "")
        return Unavailable(f"{failed}{failure}; {self._so_far()}")
