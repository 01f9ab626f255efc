"""Reloads on request: the settings are read again, checked, and put in force as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.errors import RestartNeeded, StartError
from headgate_gateway.outgoing_proxies import proxy_warnings
from headgate_gateway.process.written_settings import WrittenSettings
from headgate_gateway.settings import SettingsError
from headgate_gateway.settings.cross_checks.dangerous_settings import dangers
from headgate_gateway.settings.reload_plan import new_folders
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import TypeAlias

    from headgate_gateway.process.clock_watch import ClockWatch
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.health import HealthNote

    Reread: TypeAlias = Callable[[], Settings]


# Time between two reads of a file: one that is being written may be valid half-way.
SETTLED_S = 0.25
RESULTS = ("done", "refused")
RELOADS = counter("headgate_reloads_total", "Reloads of the settings, by result.", "result")


class Reloader:
    """The reloads of a process, one after the other.

    `reread` returns the settings as they are written now; raises SettingsError. `apply` puts them
    in force; raises StartError, and then leaves the former ones in force.
    """

    def __init__(
        self,
        settings: Settings,
        reread: Reread,
        apply: Callable[[Settings], Awaitable[None]],
    ) -> None:
        self.settings = settings  # in force
        self.written = WrittenSettings(settings, reread)
        # Of the whole server, so only the process with its admin listener has more of them.
        self.watches: list[WrittenSettings | ClockWatch] = [self.written]
        self.reread = reread
        self._apply = apply
        self._lock = asyncio.Lock()
        self._begun: asyncio.Task[object] | None = None
        self.counts = dict.fromkeys(RESULTS, 0)
        self.warnings: tuple[str, ...] = ()  # about what the last reload has put in force
        # Called after each reload that was put in force.
        self.on_reload: list[Callable[[Settings], None]] = []
        # Called with the settings of each reload before anything changes. Returns a function that
        # puts them in force, or raises StartError.
        self.on_prepare: list[Callable[[Settings], Callable[[], None]]] = []
        # Called before each reload, and after it with the reasons why it was refused.
        self.on_begin: list[Callable[[], None]] = []
        self.on_end: list[Callable[[tuple[str, ...]], None]] = []

    def start(self) -> None:
        """Reload in the background, and log the result."""
        self._begun = asyncio.get_running_loop().create_task(self.reload())

    async def reload(self) -> tuple[str, ...]:
        """Read the settings again, and put them in force.

        Return a sentence for each reason why the former settings stay in force; an empty tuple if
        the new ones are. A call during a reload waits for it, and then reads the settings again.
        """
        async with self._lock:
            problems: tuple[str, ...] = ("It was cut short.",)
            written = None
            self.written.begin_reload()
            for on_begin in self.on_begin:
                on_begin()
            try:
                problems, written = await self._reload()
            finally:
                self.written.end_reload(written, problems)
                for on_end in self.on_end:
                    on_end(problems)
            return problems

    async def _reload(self) -> tuple[tuple[str, ...], Settings | None]:
        """Return the reasons of a refusal, and the settings if they can be read."""
        settings = None
        try:
            settings = await self._settled()
            warnings = new_folders(self.settings, settings)  # before they are made
            commits = [prepare(settings) for prepare in self.on_prepare]
            await self._apply(settings)
        except RestartNeeded as refusal:
            assert settings is not None, "they were compared"
            problems = await self.written.problems_at_restart(settings)
            self.written.awaits_restart = not problems
            return self._refused(refusal.problems + problems), settings
        except (SettingsError, StartError) as refusal:
            return self._refused(refusal.problems), settings
        for commit in commits:
            commit()
        self.settings, self.warnings = settings, warnings
        log_dangers(settings)
        for warning in warnings:
            log.warning("server.new_folder", what=warning)
        for on_reload in self.on_reload:
            on_reload(settings)
        self.counts["done"] += 1
        log.info("server.reloaded", routes=[route.prefix for route in settings.route_table])
        return (), settings

    async def _settled(self) -> Settings:
        """Return the settings once two reads in a row have found the same. Raises SettingsError."""
        earlier = None
        while True:
            settings = await asyncio.to_thread(self.reread)
            if settings == earlier or settings.file is None:
                return settings
            earlier = settings
            await asyncio.sleep(SETTLED_S)

    def _refused(self, problems: tuple[str, ...]) -> tuple[str, ...]:
        self.counts["refused"] += 1
        log.error("server.reload_refused", problems=problems, instead="the settings in force")
        return problems

    def notes(self) -> Iterator[HealthNote]:
        """Yield what the watches have noticed."""
        for watch in self.watches:
            yield from watch.notes()

    def samples(self) -> Iterator[Sample]:
        """Yield how many reloads were done and refused, and the samples of the watches."""
        for watch in self.watches:
            yield from watch.samples()
        for result in RESULTS:
            yield Sample(RELOADS, (result,), self.counts[result])


def log_dangers(settings: Settings) -> None:
    """Log a warning for each dangerous setting, as `headgate config check` prints it."""
    for danger in (*dangers(settings), *proxy_warnings()):
        log.warning("settings.dangerous", what=danger)
