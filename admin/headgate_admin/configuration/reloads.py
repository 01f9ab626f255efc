"""The settings as they are written now: what a reload would change, and the reload itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_admin.access.audit import audited
from headgate_admin.configuration import pending
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.operation import operation
from headgate_gateway.settings import SettingsError
from headgate_gateway.settings.reload_plan import new_folders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.features.questions.process_source import Health, Setup
    from headgate_gateway.settings import Settings

# Between two reads of the files: pages that stay open look every two seconds, each for itself.
READ_EVERY_S = 1.0
# That are shown one by one, which is half a megabyte of the page: who has more reads the file.
MOST_CHANGES = 500
# Files that a gateway reads again by itself when they change.
WATCHED = (
    "credentials.tokens_file",
    "credentials.keys_file",
    "tls.certificate",
    "admin.tls.certificate",
)


class WatchedFileState(msgspec.Struct, frozen=True):
    """A file of tokens, keys or certificates, which is read again by itself when it changes."""

    setting: str
    path: str
    problem: str | None  # why its present contents are not in force


class PendingConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings as they are written now, compared with those in force.

    With `problems` the written ones are invalid, and nothing else is known of them. A reload that
    has `refusals` changes nothing.
    """

    read_at: float  # epoch seconds
    file: str | None
    problems: tuple[str, ...] = ()
    changes: tuple[pending.PendingChange, ...] = ()  # the first of them
    changes_in_all: int = 0
    routes: tuple[pending.RoutePlan, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # of what a reload would put in force
    outranked: tuple[str, ...] = ()  # what is written and does not count, and why
    files: tuple[WatchedFileState, ...] = ()


class ReloadDone(msgspec.Struct, frozen=True):
    """The routes in force after a reload; sentences on folders in which streams are missing now."""

    routes: tuple[str, ...]
    warnings: tuple[str, ...]


class ConsoleReloads:
    """The reloads that operators request, and what they would change.

    `health` returns what is wrong with files that are read again by themselves, among other things.
    """

    def __init__(self, setup: Setup, health: Callable[[], Awaitable[Health]]) -> None:
        self._reloader = setup.reloader
        self._clock = setup.clock
        self._health = health
        self._reading = asyncio.Lock()
        self._found: _Found | None = None  # at the last read

    @operation("POST", "/api/v1/reload")
    async def reload(self, viewer: Viewer) -> ReloadDone:
        """Put the settings in force as they are written now.

        Raises ConsoleError with a sentence for each reason why those before stay in force.
        """
        with audited(viewer, "reload", "", ""):
            problems = await self._reloader.reload()
            if problems:
                raise ConsoleError(409, "\n".join(problems))
        routes = tuple(route.prefix for route in self._reloader.settings.route_table)
        return ReloadDone(routes, self._reloader.warnings)

    @operation("GET", "/api/v1/configuration/pending")
    async def pending(self) -> PendingConfiguration:
        """Return what a reload would change."""
        async with self._reading:
            current, now = self._reloader.settings, self._clock()
            found = self._found
            is_fresh = found is not None and 0 <= now - found.view.read_at < READ_EVERY_S
            if found is None or not is_fresh or found.current is not current:
                view = await asyncio.to_thread(_pending, current, self._reloader.reread, now)
                self._found = found = _Found(current, view)
        return _with_files(found.view, current, await self._health())


class _Found(NamedTuple):
    """The difference between the settings that were in force and those that were written."""

    current: Settings
    view: PendingConfiguration


def _pending(current: Settings, reread: Callable[[], Settings], now: float) -> PendingConfiguration:
    try:
        written = reread()
    except SettingsError as refusal:
        return PendingConfiguration(read_at=now, file=current.file, problems=refusal.problems)
    file = written.file or current.file
    if written == current:
        return PendingConfiguration(read_at=now, file=file, outranked=written.outranked)
    changes = pending.changes(current, written)
    return PendingConfiguration(
        read_at=now,
        file=file,
        changes=tuple(changes[:MOST_CHANGES]),
        changes_in_all=len(changes),
        routes=pending.route_plans(current, written),
        refusals=pending.refusals(current, written),
        warnings=new_folders(current, written),
        outranked=written.outranked,
    )


def _with_files(
    view: PendingConfiguration, current: Settings, health: Health
) -> PendingConfiguration:
    from msgspec.structs import replace

    files = (
        WatchedFileState(setting, path, health.of_file(path))
        for setting in WATCHED
        if (path := current.value_at(setting))
    )
    return replace(view, files=tuple(files))
