"""The source of the admin listener's data: one process, or a supervisor of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp.web_request import BaseRequest

    from gateway.access.console import ConsoleToken
    from gateway.settings import Settings
    from gateway.telemetry.inspection import Answer, Question
    from gateway.telemetry.metrics import Snapshot


STARTING = "starting"  # why a process is not ready that opens its routes and listeners


class Health(NamedTuple):
    """The checks by name: None where all is well, else what is wrong.

    Notes have the same form; readiness does not depend on them.
    """

    checks: dict[str, str | None]
    notes: dict[str, str | None]


class ClientBounds(Protocol):
    """The bounds on clients of the admin listener, and its numbers."""

    @property
    def most_connections(self) -> int:
        """The largest number of connections that the listener has at once."""

    async def body(self, request: BaseRequest) -> bytes:
        """Return a request's body. Raises HeadgateError, or ConnectionError."""

    def log_refusal(self, reason: str, client: str | None) -> None:
        """Log a client's malformed request, at most once a second."""

    def measure(self) -> Snapshot:
        """Return the listener's numbers as they are now."""


class SettingsSource(Protocol):
    """The settings in force, which a reload replaces."""

    settings: Settings
    on_reload: list[Callable[[Settings], None]]  # called with new settings

    async def reload(self) -> tuple[str, ...]:
        """Put the settings in force as they are written now; return why not, or nothing."""


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
    """The state and the figures of this process, or of several together."""

    async def health(self) -> Health:
        """Return whether requests should be sent here, with the reasons."""

    async def measure(self) -> Snapshot:
        """Return every number as it is now."""

    async def query(self, question: Question) -> Sequence[Answer]:
        """Return the answers of the processes that serve streams, as far as they come in time."""
