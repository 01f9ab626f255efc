"""Construction of routes to model providers.

`gateway.app` and `gateway.process` import this module only if there is such a route: its HTTP
client is for models only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import StartError
from gateway.hosted.route import HostedRoute
from gateway.models.dialects import DIALECTS
from gateway.models.guard import ModelGuard
from gateway.models.route import ModelRoute
from gateway.models.running import RunningAnswers
from gateway.runtime.route import RouteAccess
from gateway.settings.arrays.model_route import route_of_streams
from gateway.web.handlers.model_handlers import ModelHandlers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.authorities import Authorities
    from gateway.runtime.context import Context
    from gateway.runtime.route import StreamRoute
    from gateway.settings import ModelSettings, Settings

__all__ = ["ModelHandlers", "ModelRoute", "ModelRoutes"]

_LONGEST_KEY = 4096  # bytes; the keys of providers have about 200


class ModelRoutes:
    """The maker of a process's model routes, which remembers the answers that run."""

    def __init__(self, shared: Context) -> None:
        self._shared = shared
        self._running = RunningAnswers()

    def make(
        self,
        settings: Settings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[ModelRoute] = (),
    ) -> list[ModelRoute]:
        """Make the routes of the settings; those of `earlier` that fit are used again.

        `routes` are the routes of streams. Raises StartError for a key that cannot be read.
        """
        return [
            self._route(settings, model, routes, authorities, earlier) for model in settings.models
        ]

    def _route(
        self,
        settings: Settings,
        model: ModelSettings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[ModelRoute],
    ) -> ModelRoute:
        key = read_key(model.key_file)
        stored_on = route_of_streams(model, settings.route_table)
        streams = next(it for it in routes if stored_on and it.prefix == stored_on.prefix)
        assert isinstance(streams, HostedRoute), "the settings allow no other"
        access = _access(settings, model, authorities, self._shared, has_own_key=bool(key))
        for route in earlier:
            if route.settings == model and route.key == key and route.streams.route is streams:
                route.prepare(access, settings.principal_metrics)
                return route
        made = ModelRoute(model, key, streams, self._running, self._shared, access)
        made.prepare(access, settings.principal_metrics)
        made.renew()
        return made


def read_key(path: str) -> str:
    """Return the provider's key in a file; "" for no file. Raises StartError."""
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            key = file.read(_LONGEST_KEY + 1).strip().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the key in {path} cannot be read: {error}") from None
    if not key or len(key) > _LONGEST_KEY or not key.isprintable() or " " in key:
        raise StartError(f"{path} must have the provider's key, and nothing else")
    return key


def _access(
    settings: Settings,
    model: ModelSettings,
    authorities: Authorities,
    shared: Context,
    *,
    has_own_key: bool,
) -> RouteAccess:
    """Return who may call the provider."""
    kinds = settings.auth_of(model)
    if not kinds:
        return RouteAccess(None, is_private=True)
    verifier = authorities.verifier(kinds)
    verifier.on_end, verifier.uses = shared.admitted.end, shared.credential_uses
    dialect = DIALECTS[model.dialect]
    guard = ModelGuard(model.prefix, verifier, dialect, has_own_key=has_own_key)
    return RouteAccess(guard, is_private=True)
