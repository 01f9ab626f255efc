"""A gateway in a process of its own with model routes to a provider double."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from tests.models.provider import providing
from tests.support.given_settings import variables
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from tests.models.provider import Provider


OPENAI, ANTHROPIC, GEMINI = "/openai", "/anthropic", "/gemini"
STREAMS = "/v1/stream/answers"


class Serving(Protocol):
    """A provider double."""

    @property
    def url(self) -> str:
        """The URL of its API."""


@contextlib.contextmanager
def gateway_before(
    provider: Serving,
    folder: Path | None = None,
    settings: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
    origin: str | None = None,
) -> Iterator[Headgate]:
    """Start a gateway with a route for each dialect; answers are in `folder`, or in memory.

    With an `origin` they are there.
    """
    server = Headgate(
        origin or ("memory:" if folder is None else f"file:{folder / 'data'}"),
        arguments=() if config is None else ("--config", str(config)),
        environment={**variables({"models": models(provider, settings)}), **(environment or {})},
    )
    try:
        yield server.start()
    finally:
        server.close()


@contextlib.asynccontextmanager
async def answering(
    folder: Path | None = None,
    settings: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> AsyncIterator[tuple[Provider, Headgate]]:
    """A provider double, and a gateway before it."""
    async with providing() as provider:
        with gateway_before(provider, folder, settings, environment, config) as gateway:
            yield provider, gateway


def models(
    provider: Serving, settings: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    """Return the setting for the routes, one of each dialect."""
    common = {"upstream": provider.url, "streams": STREAMS, **(settings or {})}
    openai = {"prefix": OPENAI, "dialect": "openai", **common}
    anthropic = {"prefix": ANTHROPIC, "dialect": "anthropic", **common}
    gemini = {"prefix": GEMINI, "dialect": "gemini", **common}
    return [openai, anthropic, gemini]
