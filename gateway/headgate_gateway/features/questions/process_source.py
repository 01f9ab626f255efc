"""Contracts by which the admin application sees the server: its health, processes and settings.

A process that serves streams implements them, or the supervisor of several workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate_gateway.telemetry.health import STOPPING, Cause, HealthNote, by_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from aiohttp.web_request import BaseRequest

    from headgate_gateway.features.console_token import ConsoleToken
    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Snapshot


class Health(NamedTuple):
    """The health checks, the first of which is that of the server.

    `notes` have the same form, but readiness does not depend on them.
    """

    checks: tuple[HealthNote, ...] = ()
    notes: tuple[HealthNote, ...] = ()

    @property
    def is_stopping(self) -> bool:
        """True from the beginning of a stop on."""
        return HealthNote("server", cause=Cause(STOPPING)) in self.checks

    @property
    def is_degraded(self) -> bool:
        """True if a log serves reads, and takes no writes."""
        return any(note.kind == "log" and note.cause is not None for note in self.notes)

    def with_listener(self, bounds: ClientBounds) -> Health:
        """Return this health with the notes on the admin listener that it does not have yet.

        The files of its certificate may be those of the listener of streams.
        """
        known = {(it.kind, it.subject) for it in self.notes}
        more = (it for it in bounds.notes() if (it.kind, it.subject) not in known)
        return self._replace(notes=(*self.notes, *more))

    def of_file(self, path: str) -> str | None:
        """Return what is wrong with a file of the settings, or None."""
        found = by_name(self.notes)  # that of a file is its path
        return found.get(path) or found.get(str(Path(path).absolute()))


class Restarts(NamedTuple):
    """A count of replaced processes, and how and when (`loop.time()`) the last of them ended."""

    total: int = 0
    last_end: str | None = None
    last_ended_at: float | None = None
    serves_since: str = ""  # the time of day at which the present one served


class ProcessReport(NamedTuple):
    """A process of the gateway: its name in it, why it does not serve, and its metrics.

    `numbers` are None for a process that did not answer in time; `pid` is None if there is none.
    """

    name: str
    pid: int | None
    cause: Cause | None
    restarts: Restarts
    numbers: Snapshot | None


class ClientBounds(Protocol):
    """The bounds on clients of the admin listener, and its metrics."""

    @property
    def most_connections(self) -> int:
        """The largest number of connections that the listener has at once."""

    async def body(self, request: BaseRequest) -> bytes:
        """Return a request's body. Raises HeadgateError, or ConnectionError."""

    def log_refusal(self, reason: str, client: str | None) -> None:
        """Log a client's malformed request, at most once a second."""

    def measure(self) -> Snapshot:
        """Return the listener's metrics."""

    def notes(self) -> Iterable[HealthNote]:
        """Return what is wrong with the listener's certificate, or that nothing is."""


class SettingsSource(Protocol):
    """The settings in force, which a reload replaces."""

    settings: Settings
    warnings: tuple[str, ...]  # about what the last reload has put in force
    on_reload: list[Callable[[Settings], None]]  # called with new settings
    # Returns the settings as they are written now; raises SettingsError. It reads files: call it
    # in a thread.
    reread: Callable[[], Settings]

    async def reload(self) -> tuple[str, ...]:
        """Read the settings again and apply them; return the reasons against it, or ()."""


class Setup(NamedTuple):
    """The admin listener's environment: its settings, the formats that logs write, the clock.

    `console` is the token with which the guards of streams admit it.
    """

    reloader: SettingsSource
    formats: Callable[[], Mapping[str, str]]
    clock: Callable[[], float]  # epoch seconds
    console: ConsoleToken
    bounds: ClientBounds

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reloader.settings


class ProcessSource(Protocol):
    """The state and the figures of this process, or of several together.

    `before_drain` is called and awaited when a stop begins, while all questions are still answered.
    """

    before_drain: list[Callable[[], Awaitable[None]]]

    def watch_processes(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` when a process has ended, and when the next one serves."""

    async def health(self) -> Health:
        """Return whether requests should be sent here, with the reasons."""

    async def measure(self) -> Snapshot:
        """Return all metrics."""

    async def processes(self) -> Sequence[ProcessReport]:
        """Return each process by itself, the supervisor of several workers first."""

    async def query(self, question: Question) -> Sequence[Answer]:
        """Return the answers of the processes that serve streams; late ones are left out."""
