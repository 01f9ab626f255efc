"""The console's credentials at the listener for streams, by the route of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.credential_kinds import verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.console_token import ConsoleToken
    from gateway.settings import Route, Settings

REFUSED = frozenset({401, 403})


class Credentials:
    """Its token, for guards of tokens alone: on other routes it would be sent on to the origin."""

    def __init__(self, settings: Settings, token: ConsoleToken) -> None:
        self._settings = settings
        self._token = token

    def use_settings(self, settings: Settings) -> None:
        """Know the routes of these settings, and which of them take tokens."""
        self._settings = settings

    def of(self, path: str) -> Mapping[str, str]:
        """Return the header fields with the credentials for a canonical path."""
        route = self._route(path)
        is_verified = route is not None and bool(verified(self._settings.auth_of(route)))
        return self._token.authorization() if is_verified else {}

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
        fitting = (it for it in self._settings.route_table if path.startswith(f"{it.prefix}/"))
        return next(fitting, None)
