"""Copy all streams of a place, several at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate.errors import NotAuthorized, ProtocolError, StreamError, Unavailable
from headgate_gateway.errors import HeadgateError, LogFull, LogUnavailable
from headgate_gateway.tools.copying.by_content import ContentCopy
from headgate_gateway.tools.copying.by_log import LogCopy
from headgate_gateway.tools.copying.contract import StreamRefused, name_of
from headgate_gateway.tools.copying.log_place import LogPlace, LogStream
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import note
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.tools.copying.contract import CopyOutcome
    from headgate_gateway.tools.copying.server_place import ServerPlace

# Streams that are copied at once, each with two pages in memory: some MiB altogether. That hides
# the round trips to a distant server, and lets a log commit several streams together.
AT_ONCE = 8
MOST_SAID = 100  # streams that could not be copied and are named; more are counted


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

    def _so_far(self) -> str:
        """Return how much is copied, in words."""
        streams = f"{self.streams:,} stream{'' if self.streams == 1 else 's'}"
        return f"{streams} copied or compared, {self.bytes:,} bytes appended"

    async def _work(self, paths: AsyncIterator[str], turn: asyncio.Lock) -> None:
        while True:
            async with turn:
                path = await anext(paths, None)
            if path is None:
                return
            outcome = await self._copy(path)
            if outcome is not None:
                self.streams += 1
                self.changed += outcome.is_changed
                self.gone += outcome.is_gone
                self.bytes += outcome.bytes
            self._progress.show(self._so_far)

    async def _copy(self, path: str) -> CopyOutcome | None:
        """Copy a stream; None if that is refused, and the others go on."""
        source, target = self._source, self._target
        copy: LogCopy | ContentCopy
        if isinstance(source, LogPlace):
            copy = LogCopy(source, target, path)
        else:
            copy = ContentCopy(source.stream(path), LogStream(target, path))
        try:
            return await copy.run()
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
        return None

    def _refuse(self, path: str, why: str) -> None:
        """Say why a stream is not copied, and count it."""
        self.refused += 1
        self._progress.clear()
        if self.refused <= MOST_SAID:
            note(f"headgate: {name_of(path)}: {why}.")
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
