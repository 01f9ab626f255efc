"""The check of settings that have been read: whether a server would start by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.authorities import Authorities
from gateway.mcp_events.setup import check_events
from gateway.settings.cross_checks.written_routes import written_routes

if TYPE_CHECKING:
    from gateway.settings import Settings


def check_start(settings: Settings) -> tuple[str, ...]:
    """Return a warning for each part of the settings that has no effect, or too little.

    Raises StartError for a file of tokens, keys or event types that a start refuses. What
    certificates, keys and folders a start refuses, reading the settings has found already.
    """
    warnings = Authorities.check(settings)
    for _, route in written_routes(settings):
        check_events(route)
    return warnings
