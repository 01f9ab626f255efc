"""The console's credentials at the listener for streams, by the route of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.settings.credential_kinds import verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.features.questions.process_source import Setup
    from headgate_gateway.settings import Route

REFUSED = frozenset({401, 403})


class Credentials:
    """The console's token, for routes that verify tokens: others would send it to the origin."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def of(self, path: str) -> Mapping[str, str]:
        """Return the header fields with the credentials for a canonical path."""
        route = self._route(path)
        is_verified = route is not None and bool(verified(self._setup.settings.auth_of(route)))
        return self._setup.console.authorization() if is_verified else {}

    def explained(self, path: str, status: int, why: str) -> str:
        """Return why a request was refused, with a hint if only an origin can admit the console."""
        route = self._route(path)
        if route is None or not route.is_http:
            return why
        if status in REFUSED:
            return (
                f"{why}: the origin of {route.prefix} decides who may do this, and the console has "
                "no credentials for it"
            )
        return why

    def _route(self, path: str) -> Route | None:
        """Return the route of a path; the longest prefix comes first."""
        table = self._setup.settings.route_table
        return next((it for it in table if path.startswith(f"{it.prefix}/")), None)
