"""Where the admin listener has everything from: one process, or a supervisor of several."""

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
    """Each check by name: None when it is fine, else the reason why not.

    Notes are the same of what readiness does not depend on.
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


class Setup(NamedTuple):
    """What the admin listener is told once: the forms that logs write, and what time it is.

    `console` is the token by which guards of streams let it in.
    """

    settings: Settings
    formats: Mapping[str, str]
    clock: Callable[[], float]  # epoch seconds
    console: ConsoleToken
    bounds: ClientBounds


class ProcessSource(Protocol):
    """What tells how this process, or several together, are."""

    async def health(self) -> Health:
        """Whether requests should be sent here."""

    async def measure(self) -> Snapshot:
        """Every number as it is now."""

    async def ask(self, question: Question) -> Sequence[Answer]:
        """The answer of each process that serves streams, but of those that give none in time."""
