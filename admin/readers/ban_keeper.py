"""The keeper of bans: in the processes, in a file, and on gateways that share a log."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from admin.readers.ban_file import NAME, BanFile
from admin.readers.ban_list import BanList
from gateway.features.questions.readers import ApplyBans, EndedReaderCount
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.access.bans import Ban
    from gateway.features.questions.process_source import ProcessSource


ASK_S = 2.0  # for all workers: one that is late is asked again at the next look


class BanKeeper:
    """The keeper of the bans in `list`; without a `folder` they end with this gateway."""

    def __init__(
        self, source: ProcessSource, clock: Callable[[], float], folder: Path | None
    ) -> None:
        """`clock` returns epoch seconds."""
        self.list = BanList(clock)
        self._source = source
        self._file = None if folder is None else BanFile(folder / NAME)
        self._is_applied = True  # no process has bans that are over
        self._is_failing = False
        self._saving = asyncio.Lock()  # one thread at a time writes the file

    async def open(self) -> None:
        """Read the bans of former processes from the file, if there is one."""
        if self._file is not None:
            try:
                self.list.merge(await asyncio.to_thread(self._file.read))
            except OSError as error:  # what it has must not be replaced by less
                self._failed(error)
                self._file = None
        self.list.unsaved = False
        with contextlib.suppress(TimeoutError):  # of workers; at the next look they are asked again
            await self.look(())

    async def decide(self, ban: Ban) -> int:
        """Enforce a decision; return how many readers it has disconnected. Raises ConsoleError."""
        self.list.decide(ban)
        count = await self._apply()
        await self._save()
        return count

    async def look(self, others: Iterable[Ban]) -> None:
        """Take the decisions of other gateways, and send all to the processes: some may be new."""
        self.list.merge(others)
        if self.list.decisions or not self._is_applied:
            await self._apply()
        await self._save()

    async def _apply(self) -> int:
        decisions = self.list.decisions
        async with asyncio.timeout(ASK_S):
            answers = await self._source.query(ApplyBans(decisions))
        self._is_applied = not decisions
        return sum(answer.count for answer in answers if isinstance(answer, EndedReaderCount))

    async def _save(self) -> None:
        file = self._file
        if file is None:
            return
        async with self._saving:
            if not self.list.unsaved or not file.path.parent.exists():
                return
            self.list.unsaved = False
            try:
                await asyncio.to_thread(file.replace, self.list.decisions)
                self._is_failing = False
            except OSError as error:
                self.list.unsaved = True
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            assert self._file is not None
            log.warning("admin.bans_not_kept", file=str(self._file.path), reason=error.strerror)
