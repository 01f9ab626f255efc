"""The keeper of bans: in the processes, in a file, and on gateways that share a log.

The file keeps bans across restarts: in the folder of a `file:` log, for its user alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_admin.readers.ban_list import MOST_BANS, BanList, parse_bans
from headgate_gateway.features.questions.readers import ApplyBans, EndedReaderCount
from headgate_gateway.telemetry.logs import log
from headgate_gateway.text_files import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headgate_gateway.access.bans import Ban
    from headgate_gateway.features.questions.process_source import ProcessSource
    from headgate_gateway.settings import Settings

NAME = "headgate.bans"
LARGEST_FILE = MOST_BANS * 4096  # bytes: names of clients have a few hundred
ASK_S = 2.0  # for all workers: one that is late is asked again at the next look


class BanKeeper:
    """The keeper of the bans in `list`; without a `folder` they end with this gateway."""

    def __init__(
        self, source: ProcessSource, clock: Callable[[], float], folder: Path | None
    ) -> None:
        """`clock` returns epoch seconds."""
        self.list = BanList(clock)
        self._source = source
        self._file = None if folder is None else folder / NAME
        self._is_applied = True  # no process has bans that are over
        self._is_failing = False
        self._saving = asyncio.Lock()  # one thread at a time writes the file

    async def open(self) -> None:
        """Read the bans of former processes from the file, if there is one."""
        if self._file is not None:
            try:
                self.list.merge(await asyncio.to_thread(read_bans, self._file))
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
            if not self.list.unsaved or not file.parent.exists():
                return
            self.list.unsaved = False
            try:
                await asyncio.to_thread(write_bans, file, self.list.decisions)
                self._is_failing = False
            except OSError as error:
                self.list.unsaved = True
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("admin.bans_not_kept", file=str(self._file), reason=error.strerror)


def read_bans(path: Path) -> list[Ban]:
    """Return the bans of a file, a JSON object a line; leave out damaged lines. Raises OSError."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return parse_bans(file.read(LARGEST_FILE).removeprefix(MARK).splitlines())


def write_bans(path: Path, bans: Iterable[Ban]) -> None:
    """Write the file anew: after a crash it has all of the former bans or all of these.

    Raises OSError. One thread at a time may do so.
    """
    beside = path.with_name(f"{path.name}-new")
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        for ban in bans:
            file.write(msgspec.json.encode(ban) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def data_folder(settings: Settings) -> Path | None:
    """Return the folder of the first log that has one, or None."""
    for route in settings.route_table:
        if route.log_kind is not None and route.log_kind.name == "file":
            return Path(route.storage.removeprefix("file:"))
    return None
