"""The settings as they are written now: whether a restart would fail because of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import StartError
from headgate_gateway.settings import SettingsError
from headgate_gateway.settings.reading.named_files import named_files
from headgate_gateway.small_files import file_state
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.settings import Settings
    from headgate_gateway.small_files import FileState

# A change is checked once two looks in a row have seen it: an editor may still be writing.
LOOK_S = 1.0
SHOWN_PROBLEMS = 3  # in one line of /readyz; the log has all
LAST_OK = gauge(
    "headgate_config_last_reload_successful",
    "0 while the settings as they are written now would be refused, or were by the last reload.",
)


class WrittenSettings(Background):
    """The settings and the files that they name, as they are on disk, and what is wrong with them.

    `problems` are the sentences with which a start, or the last reload, refuses them. Started, it
    checks them whenever one of the files has changed, and every two seconds while they cannot be
    read. `reread` returns the settings as they are written; raises SettingsError.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings]) -> None:
        self.problems: tuple[str, ...] = ()
        self.awaits_restart = False  # a start would take what the last reload has refused
        self._in_force = settings
        self._reread = reread
        self._paths = _paths(settings)
        self._checked = self._states()  # by the start
        self._pending: _States | None = None  # of a change that one look has seen
        self._before_reload = self._checked

    def begin_reload(self) -> None:
        """Note which files a reload is about to read."""
        self._before_reload = self._states()
        self.awaits_restart = False

    def end_reload(self, written: Settings | None, problems: tuple[str, ...]) -> None:
        """Take over what a reload has found, and the settings if they could be read."""
        self.problems = problems
        if written is not None and not problems:
            self._in_force = written
        self._note_check(self._before_reload, written)

    async def problems_at_restart(self, written: Settings) -> tuple[str, ...]:
        """Return the sentences with which a start would refuse settings that have been read."""
        of_files, of_folders = self._problems_of_files, self._problems_of_folders
        return await asyncio.to_thread(lambda: of_files(written) or of_folders(written))

    def notes(self) -> Iterator[HealthNote]:
        """Yield what is wrong, if there are files."""
        if not self._paths:
            return
        if not self.problems:
            yield HealthNote("settings")
            return
        left_out = len(self.problems) - SHOWN_PROBLEMS
        more = (f"And {left_out} more.",) if left_out > 0 else ()
        shown = " ".join((*self.problems[:SHOWN_PROBLEMS], *more))
        code = "waits_for_restart" if self.awaits_restart else "not_readable"
        yield HealthNote("settings", cause=Cause(code, {"reason": shown}))

    def samples(self) -> Iterator[Sample]:
        """Yield whether the written settings can be used."""
        yield Sample(LAST_OK, (), int(not self.problems))

    @override
    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Check the settings, if the look before saw the same change of the files."""
        seen = self._states()
        if seen == self._checked:
            self._pending = None
        elif seen != self._pending:
            self._pending = seen
        else:
            checked = self._checked
            problems, written = await asyncio.to_thread(self._check)
            if self._checked is not checked:
                return  # a reload has checked them meanwhile
            self._note_check(seen, written)
            if problems and problems != self.problems:
                log.warning("settings.refused", problems=problems, instead="the settings in force")
            self.problems, self.awaits_restart = problems, False

    def _check(self) -> tuple[tuple[str, ...], Settings | None]:
        """Return what a start would refuse, and the settings if only their files can mend it.

        A folder may be mended without a change of any file.
        """
        try:
            written = self._reread()
        except SettingsError as refusal:
            return refusal.problems, None
        problems = self._problems_of_files(written)
        if not problems and (problems := self._problems_of_folders(written)):
            return problems, None
        return problems, written

    @staticmethod
    def _problems_of_files(written: Settings) -> tuple[str, ...]:
        from headgate_gateway.process.start_check import (
            check_start,  # a supervisor has not loaded it
        )

        try:
            check_start(written)
        except StartError as refusal:
            return refusal.problems
        return ()

    def _problems_of_folders(self, written: Settings) -> tuple[str, ...]:
        from headgate_gateway.process.start_check import folder_problems

        return folder_problems(written, self._in_force)

    def _note_check(self, states: _States, written: Settings | None) -> None:
        """Watch the files that the settings name, which were in these states when they were read.

        While they cannot be read, each second look checks them: one of the files that they name may
        be what is missing.
        """
        self._pending = None
        if written is None:
            self._checked = {}
            return
        self._paths = _paths(written)
        self._checked = {path: states.get(path) or _state(path) for path in self._paths}

    def _states(self) -> _States:
        return {path: _state(path) for path in self._paths}


_States = dict[str, "FileState | None"]


def _paths(settings: Settings) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*filter(None, (settings.file,)), *named_files(settings))))


def _state(path: str) -> FileState | None:
    """Return the state of a file; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return file_state(path)
    return None
